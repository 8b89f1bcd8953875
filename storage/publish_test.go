package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// killed returns the directory of a store as a process leaves it that is killed now.
func killed(t *testing.T, s *Store) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(s.home.path)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// writePart begins a part and writes all of it.
func writePart(t *testing.T, s *Store, b []byte, d digest.Digest) *Part {
	t.Helper()
	p := beginPart(t, s, d, int64(len(b)))
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// lastState returns what the state file of a closed store says.
func lastState(t *testing.T, dir string) volume.State {
	t.Helper()
	root, err := volume.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := openState(root)
	if err := errors.Join(err, st.Close(), root.Close()); err != nil {
		t.Fatal(err)
	}
	return st.State
}

// What is published is there when the process is killed, before it was committed:
// as a blob, or as a part that is complete where blobs have to go for it first.
func TestPublishedOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	b, d := content(1, 3000)
	for name, room := range map[string]bool{"room": true, "no room": false} {
		t.Run(name, func(t *testing.T) {
			s := openTest(t, Options{})
			other, _ := content(2, 3000)
			f, _, err := s.OpenBlob(t.Context(), putBlob(t, s, other))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() // it stays
			if !room {
				s.SetLimits(Limits{MaxSize: 4000})
			}
			p := writePart(t, s, b, d)
			p.Publish(3000)
			if _, err := p.WriteAt(b, 0); err == nil {
				t.Error("written after it was published")
			}
			next := openTest(t, Options{Path: killed(t, s)})
			if room {
				if trusted, err := next.HasBlob(t.Context(), d); err != nil || !trusted {
					t.Errorf("blob is trusted: %v, %v", trusted, err)
				}
				if !bytes.Equal(readBlob(t, next, d), b) {
					t.Error("other bytes")
				}
				return
			}
			p = beginPart(t, next, d, 3000)
			if want := extents(0, 3000); !slices.Equal(p.Covered(), want) {
				t.Fatalf("covered %v, want %v", p.Covered(), want)
			}
			if err := p.Commit(3000); err != nil || !bytes.Equal(readBlob(t, next, d), b) {
				t.Errorf("it is not the blob: %v", err)
			}
		})
	}
}

// Of a part that is complete, but was not brought to the disk, a power failure may
// leave anything.
func TestCompletePartAfterPowerFailure(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 3000)
	p := writePart(t, s, b, d)
	s.SetLimits(Limits{MaxSize: 1000})
	p.Publish(3000)
	dir := killed(t, s)
	disk, err := loadDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	next := openTest(t, Options{Path: dir, seams: seams{over: (&faulty{disk: disk, boot: "another"}).over}})
	wantIngest(t, next, 0)
	if p := beginPart(t, next, d, 3000); len(p.Covered()) != 0 {
		t.Errorf("covered %v", p.Covered())
	}
}

// A store is closed properly only if all of its blobs are on the disk: a power failure
// after that casts no doubt. A killed process may have left some that are not.
func TestDoubtOutlivesACleanRun(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	b, d := content(1, 3000)
	p := writePart(t, s, b, d)
	p.Publish(3000)
	if s.keeper.durability.Certain() {
		t.Error("what is published counts as on the disk")
	}
	dir := killed(t, s)
	if err := p.Commit(3000); err != nil || !s.keeper.durability.Certain() {
		t.Errorf("committed: %v, all is on the disk: %v", err, s.keeper.durability.Certain())
	}
	// One that was killed, and one that nobody waited for.
	next := openTest(t, Options{Path: dir, Quiet: true})
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if st := lastState(t, dir); st.Clean {
		t.Error("closed as if all was on the disk")
	}
	reboot(t, dir, func(*volume.State) {})
	next = openTest(t, Options{Path: dir, Quiet: true})
	if trusted, err := next.HasBlob(t.Context(), d); err != nil || trusted {
		t.Errorf("trusted after a power failure: %v, %v", trusted, err)
	}
	// Where everything is brought to the disk, it is closed as others are.
	next = openTest(t, Options{Path: killed(t, s)})
	next.keeper.durability.Checkpoint(next.home.lock)
	if err := next.Close(); err != nil {
		t.Fatal(err)
	}
	if st := lastState(t, next.home.path); !st.Clean {
		t.Error("in doubt for ever")
	}
}

// A blob that cannot be brought to the disk is not kept.
func TestPublishedIsWithdrawn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	disk, err := loadDisk(dir)
	if err != nil {
		t.Fatal(err)
	}
	broken := &faulty{disk: disk, boot: "boot"}
	s := openTest(t, Options{Path: dir, seams: seams{over: broken.over}})
	b, d := content(1, 3000)
	p := writePart(t, s, b, d)
	p.Publish(3000)
	i, _ := volume.IDOf(d)
	broken.arm("sync "+sums.ReplaceAllString(i.PartPath(), "$1")+" 1", fault{errno: 5}, nil)
	if err := p.Commit(3000); err == nil {
		t.Error("committed")
	}
	broken.disarm()
	if _, err := s.HasBlob(t.Context(), d); err == nil {
		t.Error("it is still there")
	}
	settle(t, s)
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "*", "*", i.Digest().Encoded())); len(left) != 0 || s.Usage().Blobs != 0 {
		t.Errorf("left %v, usage %+v", left, s.Usage())
	}
}
