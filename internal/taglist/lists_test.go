package taglist

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

var (
	scope = oci.Scope{Upstream: "docker.io", Repository: "a"}
	start = time.Unix(1_800_000_000, 0)
)

func cursor(n int) oci.TagsCursor { return oci.TagsCursor{Query: fmt.Sprint(n)} }

func page(next oci.TagsCursor, tags ...string) *Page {
	return &Page{Part: oci.TagsPart{Tags: tags, Next: next}, Asked: start}
}

// Clients go on by the place of a tag, in whatever order the upstream has them.
func TestListIsPagedByPlace(t *testing.T) {
	l := New(scope, start)
	want := func(p oci.TagsPage, done, more bool, tags ...string) {
		t.Helper()
		list, ok := l.Page(p)
		if ok != done || done && (!slices.Equal(list.Tags, tags) || list.More != more) {
			t.Errorf("%+v: %+v, %v", p, list, ok)
		}
	}
	if err := l.Add(oci.TagsCursor{}, page(cursor(1), "b", "a"), start); err != nil {
		t.Fatal(err)
	}
	want(oci.TagsPage{N: 1}, true, true, "b")
	want(oci.TagsPage{N: 1, Last: "b"}, true, true, "a")
	want(oci.TagsPage{N: 2, Last: "b"}, false, false)
	if err := l.Add(cursor(1), page(oci.TagsCursor{}, "a", "c"), start); err != nil {
		t.Fatal(err)
	}
	want(oci.TagsPage{N: 2, Last: "b"}, true, false, "a", "c")
	if _, more := l.State(); more {
		t.Error("the whole list has more pages")
	}
	circle := New(scope, start)
	err := errors.Join(circle.Add(oci.TagsCursor{}, page(cursor(1), "a"), start), circle.Add(cursor(1), page(cursor(1), "b"), start))
	if oci.ClassOf(err) != oci.ClassNotRegistry {
		t.Errorf("a circle is %v", err)
	}
}

// The longest list makes room for the others, and who is in it hears of that.
func TestListsAreBounded(t *testing.T) {
	var s Lists
	long := New(scope, start)
	s.Put(long, start)
	tags := make([]string, 100_000)
	var err error
	for n := 0; err == nil; n++ {
		for i := range tags {
			tags[i] = fmt.Sprintf("%d-%d", n, i)
		}
		if err := long.Add(cursorBefore(n), page(cursor(n), tags...), start); err != nil {
			t.Fatal(err)
		}
		other := New(oci.Scope{Repository: fmt.Sprint(n)}, start)
		s.Put(other, start)
		if err := s.Settle(other, start); err != nil {
			t.Errorf("a short list had to go: %v", err)
		}
		err = s.Settle(long, start)
	}
	if oci.ClassOf(err) != oci.ClassLength || s.Join(scope, start) != nil {
		t.Errorf("a list of %d bytes: %v", s.bytes, err)
	}
	if err := s.Settle(long, start); !errors.Is(err, ErrDropped) {
		t.Errorf("one that is not remembered any more: %v", err)
	}
	if s.bytes > maxListingBytes {
		t.Errorf("%d bytes are taken", s.bytes)
	}
}

func cursorBefore(n int) oci.TagsCursor {
	if n == 0 {
		return oci.TagsCursor{}
	}
	return cursor(n - 1)
}
