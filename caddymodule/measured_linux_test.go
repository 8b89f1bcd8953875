package caddymodule

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// measured is a gateway in a process of its own, whose costs the kernel counts.
type measured struct {
	t        *testing.T
	cmd      *exec.Cmd
	base     string
	storage  string
	upstream *registrytest.Server
	client   http.Client
	stop     func()
}

// startMeasured starts a gateway, with lines for its upstream docker.io, and stops it at
// the end of the test.
func startMeasured(t *testing.T, lines string) *measured {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	p := &measured{t: t, base: "http://" + addr, storage: filepath.Join(home, "store"), upstream: registrytest.New(t, registrytest.Options{})}
	config := filepath.Join(home, "Caddyfile")
	text := fmt.Sprintf("{\nadmin off\nregistry_mirror {\nstorage %s\n}\n}\n%s {\nregistry_mirror {\nupstream docker.io {\nurl %s\n"+
		"try_duration 1m\nresponse_header_timeout 1m\n%s\n}\n}\n}\n", // what it costs is measured, not how long it takes
		p.storage, p.base, p.upstream.URL(), lines)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p.cmd = &exec.Cmd{
		Path: self, Args: []string{"pullgate", "run", "--config", config}, Stderr: &log,
		Env:         []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "XDG_CONFIG_HOME=" + home, "TMPDIR=" + os.TempDir()},
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.stop = sync.OnceFunc(func() {
		p.client.CloseIdleConnections()
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := p.cmd.Wait(); err != nil || t.Failed() {
			t.Logf("the gateway has ended: %v\n%s", err, log.String()[max(0, log.Len()-4096):])
		}
	})
	t.Cleanup(p.stop)
	p.client = http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}, Timeout: time.Minute}
	for deadline := time.Now().Add(processTime); ; {
		if status, _, err := p.try("/v2/"); err == nil && status == http.StatusOK {
			return p
		}
		if time.Now().After(deadline) {
			t.Fatal("the gateway does not answer")
		}
		time.Sleep(20 * time.Millisecond) // another process has no event for us
	}
}

func (p *measured) try(path string) (status int, size int64, err error) {
	response, err := p.client.Get(p.base + path)
	if err != nil {
		return 0, 0, err
	}
	defer response.Body.Close()
	size, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, size, err
}

// get gets something of library/app, which has to be answered with a status.
func (p *measured) get(path string, want int) {
	if status, size, err := p.try("/v2/proxy-docker.io/library/app/" + path); err != nil || status != want {
		p.t.Errorf("GET %s: status %d, %d bytes, %v, want %d", path, status, size, err, want)
	}
}

// processor returns the time that the process has had a processor for so far.
func (p *measured) processor() time.Duration {
	p.t.Helper()
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest) // from the third on
	ticks := 0
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // Linux tells them in hundredths, on all machines of today
}

// peak runs f and returns by how much the memory of the process has exceeded at its
// peak what it was before.
func (p *measured) peak(f func()) int64 {
	p.t.Helper()
	if raced() {
		p.t.Skip("the race detector takes memory of its own")
	}
	// 5 makes the peak what is resident now.
	if err := os.WriteFile(p.proc("clear_refs"), []byte("5"), 0o600); err != nil {
		p.t.Skipf("the peak of memory cannot be measured: %v", err)
	}
	before := p.resident()
	f()
	return p.resident() - before
}

// raced reports whether the race detector is at work.
func raced() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

func (p *measured) resident() (peak int64) {
	p.t.Helper()
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		p.t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(line, &peak); err != nil {
		p.t.Fatal(err)
	}
	return peak << 10
}

func (p *measured) proc(name string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), name)
}
