package caddymodule

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// TestExample adapts and validates the Caddyfile that users begin with.
func TestExample(t *testing.T) {
	home(t)
	t.Setenv("HOME", t.TempDir())
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(raw); !bytes.Equal(formatted, raw) {
		t.Errorf("is not formatted; caddy fmt makes it\n%s", formatted)
	}
	config := exampleConfig(t)
	if err := caddy.Validate(config); err != nil {
		t.Error(err)
	}
}

func exampleConfig(t *testing.T) *caddy.Config {
	t.Helper()
	text, ok := adapted(t, string(example(t)))
	if !ok {
		t.Fatal(text)
	}
	var config *caddy.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func example(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestExampleIsClosed: the password that everybody knows opens nothing to other
// machines, and a server that is stopped does not wait for its clients for ever.
func TestExampleIsClosed(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	var app caddyhttp.App
	if err := json.Unmarshal(exampleConfig(t).AppsRaw["http"], &app); err != nil {
		t.Fatal(err)
	}
	if app.GracePeriod <= 0 {
		t.Error("there is no grace_period")
	}
	guarded := 0
	for name, server := range app.Servers {
		raw, err := json.Marshal(server.Routes)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte("http_basic")) {
			continue
		}
		guarded++
		for _, address := range server.Listen {
			host, _, err := net.SplitHostPort(address)
			if ip, ipErr := netip.ParseAddr(host); err != nil || ipErr != nil || !ip.IsLoopback() {
				t.Errorf("server %s takes a password that everybody knows at %s", name, address)
			}
		}
	}
	if guarded != 1 {
		t.Errorf("%d servers want a password, want 1", guarded)
	}
}

// TestExampleAdmin runs the example as it is, except for its ports, in a home folder in
// which nothing is yet: others cannot reach its admin API, and reload and stop can.
func TestExampleAdmin(t *testing.T) {
	home := t.TempDir()
	env := []string{"HOME=" + home, "XDG_DATA_HOME=" + home + "/data", "XDG_CONFIG_HOME=" + home + "/config"}
	plain, secure := freeAddr(t), freeAddr(t)
	_, plainPort, _ := net.SplitHostPort(plain)
	_, securePort, _ := net.SplitHostPort(secure)
	file := filepath.Join(t.TempDir(), "Caddyfile.example")
	text := strings.NewReplacer("\n:5000 {", "\n:"+plainPort+" {", ":5443", ":"+securePort).Replace(string(example(t)))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := startProcess(t, env, "run", "--config", file)
	p.await("http://" + plain + "/v2/")
	var sockets int
	err := filepath.WalkDir(home, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.Type()&os.ModeSocket == 0 {
			return err
		}
		sockets++
		for of, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			info, err := os.Stat(of)
			if err != nil {
				return err
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has the mode %v, want %v", of, info.Mode().Perm(), want)
			}
		}
		return nil
	})
	if err != nil || sockets != 1 {
		t.Errorf("%d sockets in the home folder, want 1: %v", sockets, err)
	}
	for _, verb := range []string{"reload", "stop"} {
		if out, code := runProcess(t, env, verb, "--config", file); code != 0 {
			t.Errorf("%s: exit code %d: %s", verb, code, out)
		}
	}
	if code := p.wait(); code != 0 {
		t.Errorf("it ended with exit code %d", code)
	}
}
