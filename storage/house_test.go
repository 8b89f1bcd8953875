package storage

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// heldFiles makes who opens a snapshot wait.
type heldFiles struct {
	volume.Files

	asked chan struct{} // gets one for each who waits
	held  chan struct{}
}

func (f heldFiles) Open(name string) (volume.File, error) {
	if strings.HasPrefix(name, index.SnapshotDir) {
		f.asked <- struct{}{}
		<-f.held
	}
	return f.Files.Open(name)
}

// While an index is restored, limits are kept all the same. What was here before
// stays: it may be pinned.
func TestLimitsAreKeptBesideARestore(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	_, old := putImage(t, s, "3", 3)
	size := s.Usage().BlobBytes
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.home.path, func(st *volume.State) { st.Boot, st.Probe = kernelRun(), st.Probe+1 })
	c.move(time.Hour)
	slow := heldFiles{asked: make(chan struct{}, 10), held: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-slow.asked
		cancel() // Open does not wait for the restore
	}()
	s, err := Open(ctx, Options{Path: s.home.path, Now: c.now, seams: seams{way: 5 * time.Second, over: func(f volume.Files) volume.Files {
		slow.Files = f
		return slow
	}}, Limits: Limits{MaxSize: size + 3500}})
	if err != nil {
		t.Fatal(err)
	}
	var ds []digest.Digest
	for k := range 10 {
		b, _ := content(uint64(1000+k), 1000)
		ds = append(ds, putBlob(t, s, b))
	}
	for _, d := range append(old, ds[9]) {
		if _, err := s.StatBlob(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	if u := s.Usage(); u.BlobBytes > size+3500 {
		t.Errorf("usage is %+v", u)
	}
	close(slow.held)
	<-s.keeper.restored
	s.SetLimits(Limits{MaxSize: 1})
	s.keeper.eviction.Pass(t.Context())
	for _, d := range old {
		if _, err := s.StatBlob(t.Context(), d); err == nil {
			t.Error("an old blob stays for ever")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
