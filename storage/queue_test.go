package storage

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// slowFiles removes blobs slowly.
type slowFiles struct {
	volume.Files

	remove func()
}

func (f slowFiles) Remove(name string) error {
	if strings.HasPrefix(name, volume.BlobsDir) {
		f.remove()
	}
	return f.Files.Remove(name)
}

// crowded is a store of so many blobs of ten bytes that removes them slowly.
func crowded(t *testing.T, blobs int, patience time.Duration, remove func()) *Store {
	t.Helper()
	s := openTest(t, Options{seams: seams{way: patience, over: func(f volume.Files) volume.Files { return slowFiles{f, remove} }}})
	for k := range blobs {
		b, _ := content(uint64(k), 10)
		putBlob(t, s, b)
	}
	return s
}

// A verified blob waits as long as others go for it, however long all of them take.
func TestPatienceCountsFromTheLastProgress(t *testing.T) {
	t.Parallel()
	// Long, since a busy machine may remove nothing for a while.
	const patience, pause = 2 * time.Second, 250 * time.Millisecond
	var removed atomic.Int64
	s := crowded(t, 100, patience, func() {
		if removed.Add(1) <= int64(2*patience/pause)+1 {
			time.Sleep(pause)
		}
	})
	b, d := content(1000, 900)
	p := writePart(t, s, b, d)
	s.SetLimits(Limits{MaxSize: 1000})
	began := time.Now()
	if err := p.Commit(900); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < 2*patience {
		t.Fatalf("it took only %v", took)
	}
}

// Who gives up takes back what was to go for it: no more goes than is on its way.
func TestGivingUpEndsTheEviction(t *testing.T) {
	t.Parallel()
	held := make(chan struct{})
	s := crowded(t, 3*eviction.Batch, 50*time.Millisecond, func() { <-held })
	b, d := content(1000, 3*eviction.Batch*10)
	p := writePart(t, s, b, d)
	s.SetLimits(Limits{MaxSize: 3 * eviction.Batch * 10})
	wantErr(t, "commit", p.Commit(int64(len(b))), ErrNoSpace)
	ended := s.keeper.eviction.Queue.After()
	close(held)
	s.limits.Soon()
	<-ended // and so has the one before
	if u := s.Usage(); u.EvictedBlobs > eviction.Batch {
		t.Errorf("%d blobs went for nothing", u.EvictedBlobs)
	}
}
