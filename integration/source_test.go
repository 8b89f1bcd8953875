//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestSourceOfAnotherModule builds a Caddy with xcaddy from the lean package and from
// somebody else's module, and pulls what only its source of credentials opens. The SDKs
// of clouds are not compiled in.
func TestSourceOfAnotherModule(t *testing.T) {
	built := filepath.Join(t.TempDir(), "caddy")
	recipe, err := filepath.Abs("testdata/source/xcaddy.json")
	if err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "-C", "../internal/tools", "run", "./xcaddy", recipe, built)
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("xcaddy: %v\n%s", err, output)
	}
	modules, err := exec.Command(built, "list-modules").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	for module, want := range map[string]bool{"login_file": true, "docker_config": true, "ecr": false, "acr": false, "google": false} {
		if got := strings.Contains(string(modules), "registry_mirror.credentials."+module); got != want {
			t.Errorf("module %s: %t, want %t", module, got, want)
		}
	}
	version, err := exec.Command("go", "version", "-m", built).CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(version), "aws-sdk-go") {
		t.Error("it has Amazon's SDK")
	}

	registry := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "secret"})
	image := registry.PutImage("private/image", "1", 2, 1000)
	file := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(file, []byte("u:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "Caddyfile")
	port := freePort(t)
	caddyfile := fmt.Sprintf(`{
	admin off
	registry_mirror {
		storage %s
	}
}
http://127.0.0.1:%s {
	registry_mirror {
		upstream registry.corp {
			url %s
			credentials login_file {
				path %s
			}
			access public
		}
	}
}
`, t.TempDir(), port, registry.URL(), file)
	if err := os.WriteFile(config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, []string{"XDG_DATA_HOME=" + t.TempDir(), "XDG_CONFIG_HOME=" + t.TempDir()}, built, "run", "--config", config)
	at := fmt.Sprintf("http://127.0.0.1:%s/v2/", port)
	server.await(t, answers(http.DefaultClient, at))
	for _, path := range []string{"manifests/" + image.Tag, "blobs/" + image.Platforms[0].Layers[0].Digest.String()} {
		response, err := http.Get(at + "proxy-registry.corp/private/image/" + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("GET %s: %s", path, response.Status)
		}
	}
	for _, r := range registry.Requests() {
		if user, _, ok := (&http.Request{Header: r.Header}).BasicAuth(); ok && user != "u" {
			t.Errorf("the registry saw the user %q", user)
		}
	}
	if registry.Count("", "blobs") == 0 {
		t.Error("the registry was asked for no blob")
	}
}
