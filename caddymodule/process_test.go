package caddymodule

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// processTime is how long anything of a process may take in a test.
const processTime = 60 * time.Second

// process is the command in a process of its own.
type process struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended chan struct{}
	log   output
}

// output collects what a process prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// startProcess starts the command. What is left of it at the end of the test is
// killed.
func startProcess(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("pullgate", args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("%v printed\n%s", args, p.log.String())
		}
	})
	return p
}

// runProcess runs the command, and returns what it prints and its exit code.
func runProcess(t testing.TB, env []string, args ...string) (printed string, code int) {
	t.Helper()
	p := startProcess(t, env, args...)
	code = p.wait()
	return p.log.String(), code
}

// await waits until the URL is answered.
func (p *process) await(url string) {
	p.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: processTime}
	for deadline := time.Now().Add(processTime); time.Now().Before(deadline); {
		response, err := client.Get(url)
		if err == nil {
			_ = response.Body.Close()
			return
		}
		select {
		case <-p.ended:
			p.t.Fatalf("it has ended, and never answered: %s", p.log.String())
		case <-time.After(10 * time.Millisecond): // another process has no event for us
		}
	}
	p.t.Fatalf("%s is not answered", url)
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Fatal(err)
	}
}

// wait waits for the end of the process, and returns its exit code.
func (p *process) wait() int {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), processTime)
	defer cancel()
	select {
	case <-p.ended:
	case <-ctx.Done():
		p.t.Fatalf("it goes on: %s", p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}
