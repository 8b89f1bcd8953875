package command

import (
	"strings"
	"testing"
)

func TestCheckAddress(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "off": "", ":5001": "", "unix//run/a.sock|0600": "",
		"5001": "--listen 5001: did you mean :5001?", "http://:5001": "--listen http://:5001: did you mean :5001?",
		":99999": "--listen :99999: invalid start port",
	} {
		err := checkAddress("--listen", text, "", "5000")
		if (want == "") != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
