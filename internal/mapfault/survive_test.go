//go:build linux && (amd64 || arm64)

package mapfault_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pullgate/pullgate/internal/mapfault"
)

// mapped maps a file of which then nothing is left: every access of a page is one
// that cannot be backed.
func mapped(t *testing.T, pages int) []byte {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "mapped"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size := pages * os.Getpagesize()
	if err := f.Truncate(int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSurvive(t *testing.T) {
	if err := mapfault.Survive(); err != nil {
		t.Fatal(err)
	}
	const writers, pages = 8, 64
	before := mapfault.Count()
	b := mapped(t, writers*pages)
	var running sync.WaitGroup
	for w := range writers {
		running.Go(func() {
			mine := b[w*len(b)/writers : (w+1)*len(b)/writers]
			for n := range mine {
				mine[n] = byte(n * (w + 1))
				if n%5000 == 0 {
					runtime.GC() // signals of the runtime's own go on
				}
			}
		})
	}
	running.Wait()
	for n, got := range b {
		w, at := n/(len(b)/writers), n%(len(b)/writers)
		if want := byte(at * (w + 1)); got != want {
			t.Fatalf("byte %d is %d, %d was written", n, got, want)
		}
	}
	if n := mapfault.Count() - before; n != writers*pages {
		t.Errorf("%d pages counted of %d", n, writers*pages)
	}
	if err := unix.Msync(b, unix.MS_SYNC); err != nil {
		t.Errorf("sync: %v", err)
	}
}

func TestReadIsZeros(t *testing.T) {
	if err := mapfault.Survive(); err != nil {
		t.Fatal(err)
	}
	if b := mapped(t, 2); !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("a page that cannot be read holds something")
	}
}

// A nil pointer still panics, and without Survive the process dies: or this test
// would show nothing.
func TestOtherFaults(t *testing.T) {
	switch os.Getenv("MAPFAULT_CHILD") {
	case "unguarded":
		mapped(t, 1)[0] = 1
		return
	case "sent":
		if err := mapfault.Survive(); err != nil {
			t.Fatal(err)
		}
		_ = unix.Kill(os.Getpid(), unix.SIGBUS)
		select {}
	}
	if err := mapfault.Survive(); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		var p *int
		*p = 1
	}()
	for child, want := range map[string]string{"unguarded": "SIGBUS", "sent": "SIGBUS"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOtherFaults$")
		cmd.Env = append(os.Environ(), "MAPFAULT_CHILD="+child)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", child, err, out)
		}
	}
}
