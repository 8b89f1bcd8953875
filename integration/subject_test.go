//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// subject is a gateway that faults are done to. Its store, its address and its
// log outlast its process, which may be started and ended any number of times,
// by one goroutine.
type subject struct {
	subjectOptions

	host    string // host:port
	admin   string // socket of the admin API
	config  string // the Caddyfile
	logPath string // what all its processes print

	process *os.Process   // the last one
	ended   chan struct{} // closed when it has ended
}

// subjectOptions make a subject. Needed is only site.
type subjectOptions struct {
	// site has the lines of its registry_mirror directive.
	site string
	// store is the directory of its store; "" = a new one.
	store string
	// storage has the lines of the block storage, such as max_size.
	storage string
	// wrap is what the gateway is started by, such as strace and its arguments.
	wrap []string
}

// newSubject makes a subject, and starts nothing.
func newSubject(t *testing.T, o subjectOptions) *subject {
	t.Helper()
	dir := t.TempDir()
	if o.store == "" {
		o.store = filepath.Join(dir, "store")
	}
	s := &subject{
		subjectOptions: o, host: "127.0.0.1:" + freePort(t), admin: filepath.Join(shortDir(t), "admin"),
		config: filepath.Join(dir, "Caddyfile"), logPath: filepath.Join(dir, "log"), ended: make(chan struct{}),
	}
	close(s.ended)
	writeFile(t, s.caddyfile(), s.config)
	t.Cleanup(func() {
		if s.process != nil {
			_ = s.process.Kill()
			<-s.ended
		}
		if t.Failed() {
			t.Logf("the log of the gateway ends with:\n%s", s.log())
		}
	})
	return s
}

// caddyfile returns its configuration.
func (s *subject) caddyfile() string {
	return fmt.Sprintf(`{
	admin unix/%s
	persist_config off
	auto_https off
	registry_mirror {
		storage %s {
			%s
		}
	}
}

http://%s {
	bind 127.0.0.1
	registry_mirror {
		%s
	}
}
`, s.admin, s.store, s.storage, s.host, s.site)
}

// launch starts the gateway and does not wait until it answers.
func (s *subject) launch(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	default:
		t.Fatal("the gateway runs already")
	}
	log, err := os.OpenFile(s.logPath, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command := append(append([]string{}, s.wrap...), binary, "run", "--config", s.config)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+filepath.Dir(s.config), "XDG_CONFIG_HOME="+filepath.Dir(s.config))
	cmd.Stdout, cmd.Stderr = log, log
	// Should the test binary die before it can end the gateway, the kernel does.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		// To the kernel, the parent is the thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start the gateway: %v", err)
	}
	s.process, s.ended = cmd.Process, ended
}

// start starts the gateway and waits until it answers, at most 30 s.
func (s *subject) start(t *testing.T) {
	t.Helper()
	s.launch(t)
	s.await(t, answers(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, s.url()+"/v2/"))
}

// await repeats ready until it returns no error, and fails the test if the
// gateway ends before or that takes longer than 30 s. It returns how long it took.
func (s *subject) await(t *testing.T, ready func() error) time.Duration {
	t.Helper()
	began := time.Now()
	for {
		err := ready()
		took := time.Since(began)
		if err == nil {
			return took
		}
		select {
		case <-s.ended:
			t.Fatalf("the gateway ended before it was ready: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if took > 30*time.Second {
			t.Fatalf("the gateway is not ready after %v: %v", took, err)
		}
	}
}

// kill ends the gateway with SIGKILL.
func (s *subject) kill(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGKILL)
	<-s.ended
}

// stop ends the gateway as an operator does, within 20 s.
func (s *subject) stop(t *testing.T) {
	t.Helper()
	s.signal(t, syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the gateway did not end within 20 s of SIGTERM")
	}
}

func (s *subject) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid(t), signal); err != nil {
		t.Fatalf("send %v to the gateway: %v", signal, err)
	}
}

// pid returns the process id of the gateway, whatever it was started by.
func (s *subject) pid(t *testing.T) int {
	t.Helper()
	for pid := s.process.Pid; ; {
		proc := "/proc/" + strconv.Itoa(pid)
		if exe, err := os.Readlink(proc + "/exe"); err == nil && filepath.Base(exe) == filepath.Base(binary) {
			return pid
		}
		children, err := os.ReadFile(proc + "/task/" + strconv.Itoa(pid) + "/children")
		if err != nil {
			t.Fatalf("the gateway has ended: %v", err)
		}
		if pid, err = strconv.Atoi(strings.TrimSpace(string(children))); err != nil {
			t.Fatalf("the children of process %s are %q, want one", proc, children)
		}
	}
}

func (s *subject) url() string { return "http://" + s.host }

// storeStatus is what the admin API tells of the store.
type storeStatus struct {
	Blobs            int64 `json:"blobs"`
	BlobBytes        int64 `json:"blob_bytes"`
	Counted          bool  `json:"counted"`
	IndexBytes       int64 `json:"index_bytes"`
	IndexOpen        bool  `json:"index_open"`
	IndexRebuilds    int64 `json:"index_rebuilds"`
	QuarantinedBlobs int64 `json:"quarantined_blobs"`
	EvictedBlobs     int64 `json:"evicted_blobs"`
	FreeBytes        int64 `json:"free_bytes"`
	Fills            int   `json:"fills"`
	Readers          int   `json:"readers"`
	LookUps          int   `json:"look_ups"`
}

// status asks the admin API.
func (s *subject) status() (storeStatus, error) {
	raw, err := adminRequest(s.admin, http.MethodGet, "/registry_mirror/", "")
	if err != nil {
		return storeStatus{}, err
	}
	var all struct {
		Storage []storeStatus `json:"storage"`
	}
	if err := json.Unmarshal(raw, &all); err != nil {
		return storeStatus{}, err
	}
	if len(all.Storage) != 1 {
		return storeStatus{}, errors.New("the admin API tells of no store, or several")
	}
	return all.Storage[0], nil
}

// idle waits until no fill and no look-up is running any more.
func (s *subject) idle(t *testing.T) storeStatus {
	t.Helper()
	var status storeStatus
	s.await(t, func() (err error) {
		if status, err = s.status(); err == nil && status.Fills+status.Readers+status.LookUps > 0 {
			err = fmt.Errorf("%d fills, %d readers and %d look-ups", status.Fills, status.Readers, status.LookUps)
		}
		return err
	})
	return status
}

// log returns the end of what the gateway has printed.
func (s *subject) log() string { return (&process{logPath: s.logPath}).log() }
