//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
)

// process is a server that a test started.
type process struct {
	name    string
	cmd     *exec.Cmd
	logPath string
	ended   chan struct{} // closed when the process has ended
	stop    func()        // ends the process and waits for it; later calls do nothing
}

// start starts a server whose output goes to a file, shown if the test fails.
// The server is stopped at the end of the test.
func start(t *testing.T, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{name: filepath.Base(name), logPath: filepath.Join(t.TempDir(), "log"), ended: make(chan struct{})}
	log, err := os.Create(p.logPath)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	// Should the test binary be killed before it can stop its servers, timeout
	// does; --foreground hands a signal on to the server alone.
	p.cmd = exec.Command("timeout", append([]string{"--foreground", "--kill-after=10", "900", name}, args...)...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	p.stop = sync.OnceFunc(func() { p.end(t) })
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("the log of %s ends with:\n%s", p.name, p.log())
		}
	})
	return p
}

func (p *process) end(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Errorf("%s did not end within 20 s of SIGTERM", p.name)
		_ = p.cmd.Process.Signal(syscall.SIGALRM) // timeout's own: it kills after 10 s more
		<-p.ended
	}
}

// kill ends the server with SIGKILL; timeout follows it.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(p.server(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// server returns the process id of the server, which is timeout's child.
func (p *process) server(t *testing.T) int {
	t.Helper()
	pid := strconv.Itoa(p.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatalf("the children of timeout are %q, want one", children)
	}
	return child
}

// dialUnix returns a dial function that goes to a socket whatever the address.
func dialUnix(socket string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
}

// log returns the end of what the server has printed.
func (p *process) log() string {
	raw, err := os.ReadFile(p.logPath)
	if err != nil {
		return err.Error()
	}
	const most = 8 << 10
	if len(raw) > most {
		raw = raw[len(raw)-most:]
	}
	return string(raw)
}

// await waits until the server is ready, and fails the test if it ends before
// or takes longer than 30 s.
func (p *process) await(t *testing.T, ready func() error) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		err := ready()
		if err == nil {
			return
		}
		select {
		case <-p.ended:
			t.Fatalf("%s ended before it was ready: %s", p.name, p.log())
		case <-deadline:
			t.Fatalf("%s is not ready after 30 s: %v", p.name, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// answers returns a check for await: something answers HTTP at the URL.
func answers(client *http.Client, url string) func() error {
	return func() error {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}
}

// run runs a command to its end, at most three minutes, and returns what it
// printed to its standard output.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// freePort returns a port for a server of this test.
func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Port()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// shortDir is t.TempDir for sockets, whose paths may have 107 bytes only.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pg") //nolint:usetesting // TempDir has the name of the test in its path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// writeFile writes a file of a test's configuration and returns its path.
func writeFile(t *testing.T, content string, elements ...string) string {
	t.Helper()
	name := filepath.Join(elements...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
