package storage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// heldReads makes who reads a blob wait, but not who sends it.
type heldReads struct {
	volume.Files

	held chan struct{}
}

type heldRead struct {
	volume.File

	held chan struct{}
}

func (f heldReads) Open(name string) (volume.File, error) {
	opened, err := f.Files.Open(name)
	if err != nil || !strings.HasPrefix(name, volume.BlobsDir+"/") {
		return opened, err
	}
	return heldRead{opened, f.held}, nil
}

func (f heldRead) ReadAt(b []byte, off int64) (int, error) {
	<-f.held
	return f.File.ReadAt(b, off)
}

// inDoubt is a store with a blob of so many bytes that is in doubt, and cannot be
// verified before release is called.
func inDoubt(t *testing.T, b []byte, spoil func(s *Store)) (s *Store, release func()) {
	t.Helper()
	s = openTest(t, Options{})
	putBlob(t, s, b)
	spoil(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.home.path, func(*volume.State) {})
	slow := heldReads{held: make(chan struct{})}
	s = openTest(t, Options{Path: s.home.path, seams: seams{over: func(f volume.Files) volume.Files {
		slow.Files = f
		return slow
	}}})
	released := false
	release = func() {
		if !released {
			released = true
			close(slow.held)
		}
	}
	t.Cleanup(release) // before the store is closed
	return s, release
}

// A large blob in doubt is read while it is verified. Its end comes once that is done.
func TestBlobInDoubtIsServedAtOnce(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	b, d := content(1, size)
	for name, damaged := range map[string]bool{"sound": false, "damaged": true} {
		t.Run(name, func(t *testing.T) {
			s, release := inDoubt(t, b, func(s *Store) {
				if damaged {
					flipBit(t, s, d, size-5)
				}
			})
			if n, err := s.BlobSize(t.Context(), d); err != nil || n != size {
				t.Errorf("size %d, %v", n, err)
			}
			f, n, err := s.ServeBlob(t.Context(), d)
			if err != nil || n != size || f.File != nil {
				t.Fatalf("%d bytes, file %v, %v", n, f.File, err)
			}
			defer f.Close()
			early := make([]byte, size-servedTail)
			if _, err := io.ReadFull(f, early); err != nil || !damaged && !bytes.Equal(early, b[:len(early)]) {
				t.Fatalf("before it is verified: %v", err)
			}
			var rest []byte
			done := make(chan error)
			go func() {
				var err error
				rest, err = io.ReadAll(f)
				done <- err
			}()
			select {
			case err := <-done:
				t.Fatalf("the end came before it was verified: %d bytes, %v", len(rest), err)
			case <-time.After(20 * time.Millisecond):
			}
			release()
			err = <-done
			if !damaged {
				if err != nil || !bytes.Equal(rest, b[size-servedTail:]) {
					t.Errorf("the end: %d bytes, %v", len(rest), err)
				}
				if again, _, err := s.ServeBlob(t.Context(), d); err != nil || again.File == nil {
					t.Errorf("it is still in doubt: %v", err)
				} else {
					again.Close()
				}
				return
			}
			if err == nil || len(rest) > 0 {
				t.Errorf("a damaged blob ends with %d bytes, %v", len(rest), err)
			}
			_, _, err = s.ServeBlob(t.Context(), d)
			wantErr(t, "afterwards", err, fs.ErrNotExist)
			if s.Usage().QuarantinedBlobs != 1 {
				t.Error("it is not in quarantine")
			}
		})
	}
}

// TestBlobInDoubtIsEvicted removes a blob while it is served and verified: who reads
// it gets all of it.
func TestBlobInDoubtIsEvicted(t *testing.T) {
	t.Parallel()
	b, d := content(1, 3<<20)
	s, release := inDoubt(t, b, func(*Store) {})
	f, _, err := s.ServeBlob(t.Context(), d)
	if err != nil || f.File != nil {
		t.Fatalf("file %v, %v", f.File, err)
	}
	defer f.Close()
	i, err := volume.IDOf(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.home.root.Remove(i.BlobPath()); err != nil {
		t.Fatal(err)
	}
	release()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// What is not read from the start waits, and so do small blobs; nobody waits for
// longer than he likes.
func TestRangeOfABlobInDoubt(t *testing.T) {
	t.Parallel()
	const size = 3 << 20
	b, d := content(1, size)
	s, release := inDoubt(t, b, func(*Store) {})
	ctx, cancel := context.WithCancel(t.Context())
	f, _, err := s.ServeBlob(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(1000, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := f.Read(make([]byte, 10)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("read %d bytes, %v", n, err)
	}
	whole, _, err := s.ServeBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close()
	if _, err := whole.Seek(-10, io.SeekEnd); err != nil {
		t.Fatal(err)
	}
	release()
	if got, err := io.ReadAll(whole); err != nil || !bytes.Equal(got, b[size-10:]) {
		t.Errorf("the last bytes are %x, %v", got, err)
	}
	if n, err := whole.Seek(0, io.SeekStart); n != 0 || err != nil {
		t.Error(err)
	}
	if got, err := io.ReadAll(whole); err != nil || !bytes.Equal(got, b) {
		t.Errorf("all of it: %d bytes, %v", len(got), err)
	}
}
