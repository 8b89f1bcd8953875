package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		os.Exit(openInChild(dir))
	}
	goleak.VerifyTestMain(m,
		// Badger leaves these two behind where it fails to open. A database that
		// is not closed leaves others, too.
		goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"))
}

var scope = oci.Scope{Upstream: "docker.io", Repository: "library/alpine"}

// clock is a clock that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// openTest opens a store that is closed with the test.
func openTest(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Path == "" {
		o.Path = t.TempDir()
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		setVolume(s, 1<<50, 1<<50) // a full disk keeps the index from being closed
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// reopen closes a store and opens its directory again.
func reopen(t testing.TB, s *Store) *Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openTest(t, Options{Path: s.home.path, Now: s.now})
}

// content returns n bytes that differ with the seed, and their digest.
func content(seed uint64, n int) ([]byte, digest.Digest) {
	b := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b)
	return b, oci.Sum(b)
}

// putBlob stores a blob the way a fill does.
func putBlob(t testing.TB, s *Store, b []byte) digest.Digest {
	t.Helper()
	return putBlobIn(t, s, scope, b)
}

func putBlobIn(t testing.TB, s *Store, scope oci.Scope, b []byte) digest.Digest {
	t.Helper()
	d := oci.Sum(b)
	p, err := s.Part(t.Context(), scope, d, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	return d
}

func wantErr(t testing.TB, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: %v, want %v", what, err, target)
	}
}

func blobFile(t testing.TB, s *Store, d digest.Digest) string {
	t.Helper()
	i, err := volume.IDOf(d)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(s.home.path, i.BlobPath())
}

// settle waits until what was posted to the index is made.
func settle(t testing.TB, s *Store) {
	t.Helper()
	if err := s.index.Update(0, func(*index.Batch) error { return nil }); err != nil {
		t.Fatal(err)
	}
}

// messages is a log handler that passes on the messages of level Info and above.
type messages chan string

func newMessages() messages { return make(messages, 1024) }

func (m messages) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (m messages) WithAttrs([]slog.Attr) slog.Handler           { return m }
func (m messages) WithGroup(string) slog.Handler                { return m }
func (m messages) Handle(_ context.Context, r slog.Record) error {
	m <- r.Message
	return nil
}

func (m messages) wait(t testing.TB, want string) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case got := <-m:
			if got == want {
				return
			}
		case <-timeout:
			t.Fatalf("%q was not logged", want)
		}
	}
}

func TestOpenMakesPrivateDirectory(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{Path: filepath.Join(t.TempDir(), "a", "b")})
	d := putBlob(t, s, []byte("x"))
	for name, want := range map[string]fs.FileMode{
		s.home.path: 0o700, filepath.Join(s.home.path, volume.BlobsDir): 0o700, filepath.Join(s.home.path, volume.IngestDir): 0o700,
		filepath.Join(s.home.path, volume.MetaDir): 0o700, filepath.Dir(blobFile(t, s, d)): 0o700, blobFile(t, s, d): 0o444,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %v, want %v", name, got, want)
		}
	}
}

func TestOpenLocked(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	_, err := Open(t.Context(), Options{Path: s.home.path, LockWait: -1})
	wantErr(t, "second open", err, ErrLocked)
	if err == nil || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("error does not name the holder: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Open(ctx, Options{Path: s.home.path})
	wantErr(t, "second open, cancelled", err, context.Canceled)
	if _, err := s.Tags(t.Context(), scope, "", -1); err != nil {
		t.Errorf("the first store does not work any more: %v", err)
	}
}

// A reload opens the next store while the last one closes.
func TestOpenWaitsForClose(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	opened := make(chan error)
	go func() {
		next, err := Open(context.Background(), Options{Path: s.home.path})
		if err == nil {
			err = next.Close()
		}
		opened <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesForeignDirectory(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]map[string]string{
		"not empty":      {"photo.jpg": "x"},
		"another layout": {volume.VersionFile: `{"layout":2}`},
		"broken version": {volume.VersionFile: "?"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(t.Context(), Options{Path: dir})
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			t.Log(err)
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != len(files) {
				t.Errorf("directory was changed: %v, %v", entries, err)
			}
		})
	}
}

func TestOpenAcceptsFreshVolume(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	openTest(t, Options{Path: dir})
}

// Badger v4.9 does not open beside what a crash can leave.
func TestOpenRemovesEmptyLogs(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00009.mem", "000009.vlog"} {
		if err := os.WriteFile(filepath.Join(s.home.path, volume.MetaDir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reopen(t, s)
}

func TestUseAfterClose(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 100)
	putBlob(t, s, b)
	_, other := content(2, 1)
	running, err := s.Part(t.Context(), scope, other, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	f, _, err := s.OpenBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m := oci.Manifest{Digest: d, Bytes: b}
	for name, call := range map[string]func() error{
		"Tag":          func() error { _, err := s.Tag(t.Context(), scope, "3"); return err },
		"PutTag":       func() error { return s.PutTag(t.Context(), scope, "3", Tag{Digest: d}) },
		"DeleteTag":    func() error { return s.DeleteTag(t.Context(), scope, "3") },
		"Tags":         func() error { _, err := s.Tags(t.Context(), scope, "", -1); return err },
		"Manifest":     func() error { _, err := s.Manifest(t.Context(), d); return err },
		"PutManifest":  func() error { return s.PutManifest(t.Context(), scope, m, nil) },
		"Linked":       func() error { _, err := s.Linked(t.Context(), scope, d); return err },
		"Link":         func() error { return s.Link(t.Context(), scope, m.Descriptor()) },
		"Referrers":    func() error { _, err := s.Referrers(t.Context(), scope, d); return err },
		"PutReferrers": func() error { return s.PutReferrers(t.Context(), scope, d, Referrers{}) },
		"OpenBlob":     func() error { _, _, err := s.OpenBlob(t.Context(), d); return err },
		"StatBlob":     func() error { _, err := s.StatBlob(t.Context(), d); return err },
		"Part":         func() error { _, err := s.Part(t.Context(), scope, d, 1); return err },
		"Commit":       func() error { return running.Commit(0) },
		"Suspend":      func() error { return running.Suspend(nil) },
		"Remove":       func() error { return running.Remove() },
	} {
		wantErr(t, name, call(), ErrClosed)
	}
	_, err = running.WriteAt(b, 0)
	wantErr(t, "WriteAt", err, fs.ErrClosed)
	if u := s.Usage(); !reflect.DeepEqual(u, Usage{}) {
		t.Errorf("usage is %+v", u)
	}
	s.SetLimits(Limits{MaxSize: 1})
	got := make([]byte, len(b))
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != string(b) {
		t.Errorf("open blob is not readable after close: %v", err)
	}
}

// Close may come while calls of all kinds are under way.
func TestCloseDuringUse(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 1000)
	var wg sync.WaitGroup
	begun := make(chan struct{}, 8)
	for n := range 8 {
		wg.Go(func() {
			for k := 0; ; k++ {
				if k == 3 {
					begun <- struct{}{}
				}
				var err error
				switch n % 4 {
				case 0:
					err = s.PutManifest(t.Context(), scope, oci.Manifest{Digest: d, Bytes: b}, nil)
				case 1:
					_, err = s.Tags(t.Context(), scope, "", -1)
				case 2:
					err = s.PutTag(t.Context(), scope, "t"+strconv.Itoa(k), Tag{Digest: d})
				case 3:
					var p *Part
					if p, err = s.Part(t.Context(), scope, d, int64(len(b))); err == nil {
						if _, err = p.WriteAt(b, 0); err == nil || errors.Is(err, fs.ErrClosed) {
							err = p.Commit(int64(len(b)))
						}
						p.Close()
					} else if errors.Is(err, fs.ErrExist) {
						err = nil
					}
				}
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					begun <- struct{}{}
					return
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
