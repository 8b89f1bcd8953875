//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// newTmpfs mounts a file system in memory until the end of the test.
func newTmpfs(t *testing.T, options string) *volume {
	t.Helper()
	v := &volume{dir: mountPoint(t)}
	v.mount(t, "-t", "tmpfs", "-o", options, "pullgate", v.dir)
	return v
}

// hog takes all that is free on a volume, and whatever becomes free, until it is
// told to let go.
type hog struct {
	t          *testing.T
	dir        string
	stop, done chan struct{}
	full       chan struct{} // closed when nothing is free for the first time
}

// letHog begins to take the space of a volume with files in dir, by take.
func letHog(t *testing.T, v *volume, take func(dir string, n int) error) *hog {
	t.Helper()
	ctx := t.Context()
	h := &hog{
		t: t, dir: filepath.Join(v.dir, "hog"),
		full: make(chan struct{}), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := os.Mkdir(h.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.done)
		told := sync.OnceFunc(func() { close(h.full) })
		defer told()
		for n := 0; ; n++ {
			if err := take(h.dir, n); !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("fill the volume: %v", err)
				return
			}
			told()
			select {
			case <-h.stop:
				return
			case <-ctx.Done(): // the test has failed
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return h
}

// letGo gives everything back.
func (h *hog) letGo() {
	h.t.Helper()
	close(h.stop)
	<-h.done
	if err := os.RemoveAll(h.dir); err != nil {
		h.t.Fatal(err)
	}
}

// takeSpace takes what is free, to the last block: it allocates until nothing is
// available in one piece, and then writes until nothing is left at all.
func takeSpace(dir string, n int) error {
	name := filepath.Join(dir, fmt.Sprint(n))
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const block = 4 << 10
	var end int64
	for step := int64(16 << 20); step >= block; {
		err := unix.Fallocate(int(f.Fd()), 0, end, step)
		switch {
		case err == nil:
			end += step
		case errors.Is(err, syscall.ENOSPC):
			step /= 2
		default:
			return err
		}
	}
	for {
		if _, err := f.WriteAt(make([]byte, block), end); err != nil {
			if end == 0 {
				_ = os.Remove(name)
			}
			return err
		}
		end += block
	}
}

// takeInodes takes what names are free.
func takeInodes(dir string, n int) error {
	for k := 0; ; k++ {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%d-%d", n, k)), os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		f.Close()
	}
}

// lastWords returns what tells of the death of a Go program, from a log that has
// all its goroutines behind it.
func (s *subject) lastWords() string {
	raw, err := os.ReadFile(s.logPath)
	if err != nil {
		return err.Error()
	}
	const most = 3 << 10
	for _, word := range []string{"\npanic: ", "\nfatal error: ", "\nunexpected fault", "\nSIG"} {
		if at := bytes.Index(raw, []byte(word)); at >= 0 {
			return string(raw[at:min(at+most, len(raw))])
		}
	}
	return "it printed no reason"
}
