package storage

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// heldFiles makes who opens a snapshot wait.
type heldFiles struct {
	files

	asked chan struct{} // gets one for each who waits
	held  chan struct{}
}

func (f heldFiles) Open(name string) (file, error) {
	if strings.HasPrefix(name, snapshotDir) {
		f.asked <- struct{}{}
		<-f.held
	}
	return f.files.Open(name)
}

// While an index is restored, limits are kept all the same. What was here before
// stays: it may be pinned.
func TestLimitsAreKeptBesideARestore(t *testing.T) {
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	_, old := putImage(t, s, "3", 3)
	size := s.Usage().BlobBytes
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reboot(t, s.path, func(st *state) { st.boot, st.probe = bootID(), st.probe+1 })
	c.move(time.Hour)
	slow := heldFiles{asked: make(chan struct{}, 10), held: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-slow.asked
		cancel() // Open does not wait for the restore
	}()
	s, err := Open(ctx, Options{Path: s.path, Now: c.now, way: 5 * time.Second, Limits: Limits{MaxSize: size + 3500}, over: func(f files) files {
		slow.files = f
		return slow
	}})
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
	<-s.restored
	s.SetLimits(Limits{MaxSize: 1})
	s.evict(t.Context())
	for _, d := range old {
		if _, err := s.StatBlob(t.Context(), d); err == nil {
			t.Error("an old blob stays for ever")
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
