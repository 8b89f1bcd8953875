package oci

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// Of the largest documents, two have room at a time. Who waits for it waits for no longer
// than a moment, and has none then.
func TestRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b, c Room
		a.Take(t.Context(), MaxManifestSize)
		b.Take(t.Context(), MaxManifestSize+1)
		b.Take(t.Context(), MaxManifestSize) // which it has
		new(Room).Take(t.Context(), largeDocument)
		(*Room)(nil).Take(t.Context(), MaxManifestSize)
		(*Room)(nil).Leave()
		taken := make(chan struct{})
		go func() {
			defer close(taken)
			c.Take(t.Context(), MaxManifestSize)
		}()
		synctest.Wait()
		select {
		case <-taken:
			t.Error("three have room")
		default:
		}
		a.Leave()
		<-taken
		began := time.Now()
		a.Take(t.Context(), MaxManifestSize)
		if waited := time.Since(began); waited != roomPatience {
			t.Errorf("it waits for %s", waited)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		a.Take(ended, MaxManifestSize)
		for range 2 {
			a.Leave()
			b.Leave()
			c.Leave()
		}
	})
	wantRoom(t)
}

// A document that goes nowhere gives its room back.
func TestRoomIsCollected(t *testing.T) {
	func() { new(Room).Take(t.Context(), MaxManifestSize) }()
	for end := time.Now().Add(20 * time.Second); !large.TryAcquire(roomForLarge); runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("room is lost")
		}
	}
	large.Release(roomForLarge)
}

func wantRoom(t *testing.T) {
	t.Helper()
	if !large.TryAcquire(roomForLarge) {
		t.Fatal("not all of the room is given back")
	}
	large.Release(roomForLarge)
}
