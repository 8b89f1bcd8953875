package listener

import "testing"

func TestForm(t *testing.T) {
	for text, want := range map[string]string{
		"localhost:2019": "localhost:2019", "[::1]:2019": "[::1]:2019", "unix//run/a.sock": "unix//run/a.sock", "fd/3": "fd/3", "tcp/:2019": "tcp/:2019",
		"http://localhost:2019": "localhost:2019", "https://gate:2019/": "gate:2019", "http://gate": "gate:2019", "unix:///run/a.sock": "unix//run/a.sock",
		"unix:/run/a.sock": "unix//run/a.sock", "/run/a.sock": "unix//run/a.sock", "./admin.sock": "unix/./admin.sock", "5001": "localhost:5001",
		"localhost": "localhost:2019", "::1": "[::1]:2019", "[::1]": "[::1]:2019", ":5001": ":5001", "127.0.0.1:0": "127.0.0.1:0",
	} {
		if got := Form(text, "localhost", "2019"); got != want {
			t.Errorf("%s: did you mean %s, want %s", text, got, want)
		}
	}
}
