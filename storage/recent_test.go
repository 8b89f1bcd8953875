package storage

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
)

// Who reads after a change was acknowledged sees it, or a later one, however many
// others read meanwhile and keep what they have found.
func TestRecentIsNeverOld(t *testing.T) {
	s := openTest(t, Options{})
	_, d := content(1, 10)
	var acknowledged atomic.Int64
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := acknowledged.Load()
				tag, err := s.Tag(t.Context(), scope, "t")
				if errors.Is(err, fs.ErrNotExist) && least == 0 {
					continue
				}
				if err != nil || tag.Size < least {
					t.Errorf("read %d, %v after %d was acknowledged", tag.Size, err, least)
					return
				}
			}
		})
	}
	for n := int64(1); n <= 300; n++ {
		if err := s.PutTag(t.Context(), scope, "t", Tag{Digest: d, Size: n}); err != nil {
			t.Fatal(err)
		}
		acknowledged.Store(n)
	}
	close(stop)
	readers.Wait()
	if err := s.DeleteTag(t.Context(), scope, "t"); err != nil {
		t.Fatal(err)
	}
	if tag, err := s.Tag(t.Context(), scope, "t"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted, and still there: %+v, %v", tag, err)
	}
}

// What a reader found before a change must not be kept after it.
func TestRecentRefusesWhatIsOld(t *testing.T) {
	r := newRecent(1)
	_, late := r.look([]byte("a"))
	r.changed([]byte("a"))
	late.keep([]byte("a"), "old")
	if value, _ := r.look([]byte("a")); value != nil {
		t.Errorf("kept %v, which has changed", value)
	}
	_, now := r.look([]byte("a"))
	now.keep([]byte("a"), "new")
	if value, _ := r.look([]byte("a")); value != "new" {
		t.Errorf("got %v, want what was kept", value)
	}
	if value, _ := r.look([]byte("b")); value != nil {
		t.Errorf("another key got %v", value)
	}
	r.clear()
	if value, _ := r.look([]byte("a")); value != nil {
		t.Errorf("cleared, and still has %v", value)
	}
}

// As many records as a set has room for do not push each other out; of one more, one
// goes.
func TestRecentKeepsAsManyAsThereIsRoomFor(t *testing.T) {
	r := newRecent(1)
	keys := []string{"a", "b", "c", "d", "e"}
	keep := func(key string) {
		if value, place := r.look([]byte(key)); value == nil {
			place.keep([]byte(key), key)
		}
	}
	kept := func() (n int) {
		for _, key := range keys {
			if value, _ := r.look([]byte(key)); value == key {
				n++
			} else if value != nil {
				t.Errorf("key %s got %v", key, value)
			}
		}
		return n
	}
	for range 3 { // each is there once
		for _, key := range keys[:recentWays] {
			keep(key)
		}
	}
	if n := kept(); n != recentWays {
		t.Errorf("kept %d of %d", n, recentWays)
	}
	keep(keys[recentWays])
	if value, _ := r.look([]byte(keys[recentWays])); value != keys[recentWays] {
		t.Errorf("got %v of the one that came last", value)
	}
	if n := kept(); n != recentWays {
		t.Errorf("kept %d after one more, want %d", n, recentWays)
	}
	r.changed([]byte("a"))
	if n := kept(); n != 0 {
		t.Errorf("kept %d after a change in the set", n)
	}
}

// A closed store has nothing to tell, not even what it has just told.
func TestRecentEndsWithStore(t *testing.T) {
	s := openTest(t, Options{})
	_, d := content(1, 10)
	if err := s.PutTag(t.Context(), scope, "t", Tag{Digest: d, Size: 10}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Tag(t.Context(), scope, "t"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tag(t.Context(), scope, "t"); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
}
