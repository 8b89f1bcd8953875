package storage

import (
	"path"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// looks counts the reads of sidecars.
type looks struct {
	volume.Files
	n *atomic.Int64
}

func (l looks) ReadFile(name string) ([]byte, error) {
	if path.Dir(name) == volume.IngestDir {
		l.n.Add(1)
	}
	return l.Files.ReadFile(name)
}

// A part that never was suspended costs no look for a sidecar; one that was is found, also
// by the next store.
func TestSidecarsAreKnown(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	o := Options{Quiet: true, seams: seams{over: func(lower volume.Files) volume.Files { return looks{lower, &n} }}}
	s := openTest(t, o)
	known := func(s *Store, seed uint64, want bool, most int64) {
		t.Helper()
		before := n.Load()
		_, d := content(seed, 1000)
		if _, ok := s.Suspended(t.Context(), scope, d); ok != want {
			t.Errorf("part %d is suspended: %v", seed, ok)
		}
		p := beginPart(t, s, d, 1000)
		if len(p.Covered()) > 0 != want {
			t.Errorf("part %d goes on from %v", seed, p.Covered())
		}
		if looked := n.Load() - before; looked > most || want && looked == 0 {
			t.Errorf("%d looks for part %d, want at most %d", looked, seed, most)
		}
		if _, err := p.WriteAt(make([]byte, 10), 0); err != nil {
			t.Fatal(err)
		}
		if err := p.Suspend(oci.Extents{{End: 10}}); err != nil {
			t.Fatal(err)
		}
	}
	known(s, 1, false, 0)
	known(s, 1, true, 2)
	b, d := content(2, 1000)
	if putBlob(t, s, b) != d || n.Load() > 2 {
		t.Errorf("a blob took %d looks", n.Load()-2)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.Path = s.home.path
	next := openTest(t, o)
	known(next, 1, true, 2)
	known(next, 3, false, 0)
}
