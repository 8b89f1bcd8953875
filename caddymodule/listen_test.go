package caddymodule

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/listener"
)

// TestPortIsTaken starts a gateway where another one listens, in every way that Caddy
// would let them share: it is refused, and names the other one, which serves on.
func TestPortIsTaken(t *testing.T) {
	dir := t.TempDir()
	env := []string{"XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	addr, addr2 := freeAddr(t), freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	config := func(name string, sites ...string) string {
		file := filepath.Join(dir, "Caddyfile."+name)
		text := fmt.Sprintf("{\n\tadmin unix/%s.sock\n\tpersist_config off\n\tauto_https off\n\tregistry_mirror {\n\t\tstorage %s.store\n\t}\n}\n", file, file)
		for _, site := range sites {
			text += site + " {\n\tregistry_mirror docker.io\n}\n"
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	first := config("first", "http://:"+port)
	a := startProcess(t, env, "run", "--config", first)
	a.await("http://" + addr + "/v2/")
	named := fmt.Sprintf("process %d (pullgate) listens there already", a.cmd.Process.Pid)
	refused := func(what, printed string, code int) {
		t.Helper()
		if code == 0 || !strings.Contains(printed, named) {
			t.Errorf("%s: exit code %d, and it does not say that %s: %s", what, code, named, printed)
		}
	}
	for what, args := range map[string][]string{
		"the same address":  {"run", "--config", config("same", "http://:"+port)},
		"one beside it":     {"run", "--config", config("beside", "http://"+addr2, "http://:"+port)},
		"IPv4 only":         {"mirror", "serve", "--storage", dir + "/v4", "--listen", "0.0.0.0:" + port, "docker.io"},
		"without a file":    {"mirror", "serve", "--storage", dir + "/serve", "--listen", ":" + port, "docker.io"},
		"the loopback only": {"mirror", "serve", "--storage", dir + "/loopback", "--listen", addr, "docker.io"},
	} {
		printed, code := runProcess(t, env, args...)
		refused(what, printed, code)
	}
	if printed, code := runProcess(t, env, "validate", "--config", first); code != 0 {
		t.Errorf("validate: %s", printed)
	}
	config("first", "http://:"+port, "http://"+addr2)
	if printed, code := runProcess(t, env, "reload", "--config", first); code != 0 {
		t.Errorf("a reload: %s", printed)
	}
	a.await("http://" + addr2 + "/v2/")

	// Another one, which then wants the first one's address, too.
	addr3 := freeAddr(t)
	second := config("second", "http://"+addr3)
	b := startProcess(t, env, "run", "--config", second)
	b.await("http://" + addr3 + "/v2/")
	config("second", "http://"+addr3, "http://:"+port)
	printed, code := runProcess(t, env, "reload", "--config", second)
	refused("a reload", printed, code)
	b.await("http://" + addr3 + "/v2/")
	for range 20 {
		a.await("http://" + addr + "/v2/")
	}

	a.signal(syscall.SIGKILL)
	a.wait()
	if printed, code := runProcess(t, env, "reload", "--config", second); code != 0 {
		t.Errorf("once the first one has gone: %s", printed)
	}
	b.await("http://" + addr + "/v2/")
}

// TestOwnListenerIsNoOther: what this process listens at itself is no reason to
// refuse, whichever of Caddy's apps starts first.
func TestOwnListenerIsNoOther(t *testing.T) {
	own, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	at := own.Addr().(*net.TCPAddr).AddrPort()
	if other, known := listener.At(at); other != nil || !known {
		t.Errorf("%v listens at %s", other, at)
	}
	for range 10 { // apps start in any order
		s := newSite(t)
		s.load("registry_mirror docker.io")
		if response := s.client().do(http.MethodGet, "/v2/"); response.StatusCode != http.StatusOK {
			t.Errorf("GET /v2/: %s", response.Status)
		}
	}
}
