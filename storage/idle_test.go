package storage

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// Idle blobs are told in the order in which they go, with who has them, and pinned ones
// never.
func TestIdle(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	busybox := oci.Scope{Upstream: "docker.io", Repository: "library/busybox"}
	putTagged(t, s, busybox, "1", nil, 1)
	c.move(3 * time.Hour)
	putTagged(t, s, scope, "1", nil, 2, 3)
	putTagged(t, s, busybox, "2", nil, 3)
	c.move(3 * time.Hour)
	b, _ := content(4, 500)
	putBlob(t, s, b)
	pin, err := oci.ParsePin("docker.io/library/busybox:1")
	if err != nil {
		t.Fatal(err)
	}
	wantIdle := func(what string, n int, want ...string) {
		t.Helper()
		blobs, _, err := s.Idle(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, b := range blobs {
			text := b.Used.UTC().Format("15") + "h"
			for _, of := range b.Scopes {
				text += " " + of.Repository
			}
			got = append(got, text)
		}
		wantList(t, what, got, want...)
	}
	shared := []string{busybox.Repository, scope.Repository}
	if shared[0] > shared[1] {
		shared[0], shared[1] = shared[1], shared[0]
	}
	wantIdle("one", 1, "12h "+busybox.Repository)
	all, none, err := s.Idle(t.Context(), 10)
	if err != nil || none != 0 || len(all) != 4 || len(all[0].Scopes) != 1 || all[3].Bytes != 500 {
		t.Errorf("all are %+v, %v", all, err)
	}
	if _, err := s.Pin(t.Context(), pin); err != nil {
		t.Fatal(err)
	}
	pinned, bytes, err := s.Idle(t.Context(), 10)
	if err != nil || bytes != 1000 || len(pinned) != 3 || !pinned[0].Used.After(all[0].Used) {
		t.Errorf("beside a pin, there are %+v, %v", pinned, err)
	}
	both := 0
	for _, b := range pinned {
		if len(b.Scopes) == 2 && b.Scopes[0].Repository == shared[0] && b.Scopes[1].Repository == shared[1] {
			both++
		}
	}
	if both != 1 {
		t.Errorf("%d blobs are shared: %+v", both, pinned)
	}
}
