//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// injection is a call that the kernel refuses to the gateway.
type injection struct {
	call, failure string
	// when is which calls of each thread: "3+" is the third and all after it.
	when string
	// reads says that a pull may fail, since what lies on the disk is not read.
	reads bool
	// start says that it begins with the start of the gateway.
	start bool
}

func (i injection) String() string {
	name := i.call + " " + i.failure
	if i.when != "" {
		name += " " + i.when
	}
	if i.start {
		name += " at start"
	}
	return name
}

// injections are those of the short version of the test.
func injections() []injection {
	some := []injection{
		{call: "fdatasync", failure: "EIO"},
		{call: "msync", failure: "EIO"},
		{call: "renameat", failure: "EIO", when: "2+"},
		{call: "pwrite64", failure: "EIO", when: "3+"},
		{call: "pwrite64", failure: "ENOSPC", when: "2+3"},
		{call: "fallocate", failure: "ENOSPC"},
		{call: "fallocate", failure: "EOPNOTSUPP"},
		{call: "openat", failure: "EMFILE", when: "2+"},
		{call: "statfs", failure: "EIO"},
		{call: "mkdirat", failure: "EROFS"},
		{call: "unlinkat", failure: "EIO"},
		{call: "pread64", failure: "EIO", reads: true},
		{call: "sendfile", failure: "EIO", reads: true},

		{call: "fsync", failure: "EIO", start: true},
		{call: "ftruncate", failure: "EIO", start: true},
		{call: "msync", failure: "EIO", start: true},
		{call: "fdatasync", failure: "EIO", start: true},
		{call: "pwrite64", failure: "EIO", start: true},
	}
	if !long() {
		return some
	}
	var all []injection
	for _, i := range some {
		for _, failure := range []string{"EIO", "ENOSPC", "EROFS", "EMFILE", "EDQUOT"} {
			for _, when := range []string{"1+", "2+", "5+", "1+2", "3+7"} {
				all = append(all, injection{i.call, failure, when, i.reads, i.start})
			}
		}
	}
	return append(all, some...)
}

// TestFailingCalls has the kernel refuse calls to the gateway under load. Pulls go
// through, nothing wrong is served or kept, and once the calls work again
// everything is cached, without a restart.
func TestFailingCalls(t *testing.T) {
	for _, i := range injections() {
		t.Run(i.String(), func(t *testing.T) {
			if !long() {
				t.Parallel()
			}
			failCalls(t, i)
		})
	}
}

func failCalls(t *testing.T, i injection) {
	const clients, each = 6, 2
	seed := testenv.Seed(t)
	images := &catalog{
		server: registrytest.New(t, registrytest.Options{}), upstream: "inject.example", seed: seed, padding: 4 << 10,
		sizes: func(r *rand.Rand) []int { return []int{1 + r.IntN(64<<10), 1 + r.IntN(1<<20), 1<<20 + r.IntN(2<<20)} },
	}
	s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h")})
	r := newRecorder(t, s.url())
	base := images.image(0)
	trace := filepath.Join(t.TempDir(), "trace")
	if i.start {
		s.wrap = append([]string{"strace"}, i.arguments(trace)...)
		s.start(t)
		s.wrap = nil
	} else {
		s.start(t)
		r.pull(t.Context(), base)
		s.idle(t)
		s.attach(t, i, trace)
	}
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for n := range each {
				// Two want the same.
				if a := r.pull(t.Context(), images.image(1+client/2*each+n)); !a.right() && !i.reads {
					t.Errorf("%s: %v", a.outcome, a.err)
				}
				for _, o := range base {
					if a := r.get(t.Context(), o); !a.right() && !i.reads {
						t.Errorf("cached before: %s: %s: %v", o.path, a.outcome, a.err)
					}
				}
			}
		})
	}
	all.Wait()
	// What was written is synced a second later.
	for wait := 0; !i.start && wait < 60 && countInjected(t, trace) == 0; wait++ {
		time.Sleep(50 * time.Millisecond)
	}
	if i.start {
		s.stop(t)
		s.start(t)
	} else {
		s.detach(t)
	}
	injected := countInjected(t, trace)
	s.idle(t)

	// What failed is not believed for ever.
	resumed := s.await(t, func() error {
		for n := range 1 + clients/2*each {
			for _, o := range images.image(n) {
				if a := r.get(t.Context(), o); !a.hit() {
					return fmt.Errorf("%s: %s: %w", o.path, a.outcome, a.err)
				}
			}
		}
		return nil
	})
	s.stop(t)
	files := checkStore(t, s.store)
	s.start(t)
	checkKept(t, r, images.server, r.acknowledged())
	t.Logf("%v: %d injected, cached again after %v; %d in quarantine; %s",
		i, injected, resumed.Round(time.Millisecond), len(files.quarantined), r.summary())
	if injected == 0 {
		t.Error("nothing was injected: the test proves nothing")
	}
}

// arguments returns what strace needs to know.
func (i injection) arguments(trace string) []string {
	inject := i.call + ":error=" + i.failure
	if i.when != "" {
		inject += ":when=" + i.when
	}
	return []string{"-f", "-qq", "-o", trace, "-e", "trace=" + i.call, "-e", "inject=" + inject}
}

func countInjected(t *testing.T, trace string) int {
	t.Helper()
	raw, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(raw, []byte("(INJECTED)"))
}

// attach makes the calls of the running gateway fail, in all its threads.
func (s *subject) attach(t *testing.T, i injection, trace string) {
	t.Helper()
	pid := s.pid(t)
	cmd := exec.Command("strace", append(i.arguments(trace), "-p", strconv.Itoa(pid))...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("start strace: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for deadline := time.Now().Add(10 * time.Second); slices.Contains(tracers(pid), 0); {
		select {
		case err := <-ended:
			t.Fatalf("strace cannot inject faults on this machine, which this test needs (is ptrace permitted?): %v: %s", err, stderr.Bytes())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("strace is not attached after 10 s")
		}
	}
}

// detach makes all calls work again.
func (s *subject) detach(t *testing.T) {
	t.Helper()
	pid := s.pid(t)
	tracer := slices.Max(tracers(pid))
	if tracer == 0 {
		t.Fatal("strace is not attached: is ptrace permitted?")
	}
	if err := syscall.Kill(tracer, syscall.SIGINT); err != nil { // it lets go
		t.Fatalf("end strace: %v", err)
	}
	s.await(t, func() error {
		if slices.Max(tracers(pid)) > 0 {
			return errors.New("strace has not let go")
		}
		return nil
	})
}

// tracers returns by which process each thread of a process is traced; 0 = none.
func tracers(pid int) []int {
	all := []int{0}
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err == nil {
		all = nil
	}
	for _, thread := range threads {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, thread.Name()))
		if _, rest, ok := strings.Cut(string(raw), "TracerPid:"); ok {
			tracer, _ := strconv.Atoi(strings.Fields(rest)[0])
			all = append(all, tracer)
		}
	}
	return all
}
