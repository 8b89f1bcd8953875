package storage

import (
	"context"
	"os"
	"testing"
	"time"
)

// A clock that is set back makes no wait longer, and keeps nothing that has to go.
func TestClockThatIsSetBack(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	c := newClock()
	s := openTest(t, Options{Now: c.now, Quiet: true})
	b, d := content(1, 1000)
	putBlob(t, s, b)
	if err := os.Chtimes(blobFile(t, s, d), c.now(), c.now()); err != nil {
		t.Fatal(err)
	}
	b, half := content(2, 1000)
	p := beginPart(t, s, half, 1000)
	if _, err := p.WriteAt(b[:500], 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Suspend(extents(0, 500)); err != nil {
		t.Fatal(err)
	}
	c.move(-100 * day)
	if err := s.parts.sweep(c.now().Add(-maxIdle)); err != nil {
		t.Fatal(err)
	}
	wantIngest(t, s, 2)
	if err := s.parts.sweep(c.now()); err != nil { // for want of space
		t.Fatal(err)
	}
	wantIngest(t, s, 0)
	if blobs, _, err := s.keeper.eviction.Remover.RemoveOldest(context.Background(), 1); err != nil || blobs != 1 {
		t.Errorf("%d blobs went, %v", blobs, err)
	}
}
