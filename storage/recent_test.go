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
	t.Parallel()
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

// A closed store has nothing to tell, not even what it has just told.
func TestRecentEndsWithStore(t *testing.T) {
	t.Parallel()
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
