//go:build integration

package integration

import (
	"net/http"
	"testing"
)

// TestExample serves Caddyfile.example as "make run" does, with its own ports.
func TestExample(t *testing.T) {
	const example = "../Caddyfile.example"
	home := []string{"XDG_DATA_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir()}
	run(t, home, binary, "validate", "--config", example)
	server := start(t, home, binary, "run", "--config", example)
	server.await(t, answers(http.DefaultClient, "http://127.0.0.1:5000/v2/"))

	for path, want := range map[string]int{
		"/v2/":                                  http.StatusOK,
		"/v2/proxy-docker.io/":                  http.StatusOK,
		"/v2/_catalog":                          http.StatusNotFound,
		"/v2/proxy-nowhere.example/x/tags/list": http.StatusNotFound,
	} {
		response, err := http.Get("http://127.0.0.1:5000" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", path, response.Status, want)
		}
	}
	// A second validation while the server runs must not touch its storage.
	run(t, home, binary, "validate", "--config", example)
	server.stop()
}
