package fleet

import (
	"context"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func TestKeys(t *testing.T) {
	s, d := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "library/a"}, oci.Sum(nil)
	for got, want := range map[string]string{
		blobKey(d): "v1/b/sha256/" + d.Encoded(), manifestKey(d): "v1/m/sha256/" + d.Encoded(),
		proofKey(s, d):     "v1/l/docker.io~0123456789ab/library/a/_/sha256-" + d.Encoded(),
		referrersKey(s, d): "v1/r/docker.io~0123456789ab/library/a/_/sha256-" + d.Encoded(),
		tagKey(s, "3.20"):  "v1/t/docker.io~0123456789ab/library/a/_/3.20",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// deleting is a bucket in which something happens while an object is removed, or written.
type deleting struct {
	bucket.Objects

	meanwhile func()
}

func (d deleting) Delete(context.Context, string) error {
	d.meanwhile()
	return nil
}

func (d deleting) Put(context.Context, string, io.ReadSeeker, int64, bucket.PutOptions) error {
	d.meanwhile()
	return nil
}

// An object that was removed while it was replaced may be gone, whichever was first: it is
// uploaded again at once.
func TestRemovalOfWhatIsReplaced(t *testing.T) {
	of := oci.Sum(nil)
	key := blobKey(of)
	for _, both := range []bool{false, true} {
		var d *depot
		var remove, replace, meanwhile func() error
		d = newDepot("memory", deleting{meanwhile: func() {
			if other := meanwhile; other != nil && both {
				meanwhile = nil
				if err := other(); err != nil {
					t.Error(err)
				}
			}
		}}, New(Options{}))
		remove = func() error { return d.uploads.remove(t.Context(), of, key) }
		replace = func() error {
			return d.uploads.put(t.Context(), of, key, strings.NewReader(""), 0, bucket.PutOptions{})
		}
		for what, order := range map[string][2]func() error{"removed": {remove, replace}, "replaced": {replace, remove}} {
			d.wrong.Add(key, time.Minute)
			d.present.Drop(key)
			meanwhile = order[1]
			if err := order[0](); err != nil || d.wrong.Has(key) {
				t.Errorf("%s: %v", what, err)
			}
			uploads, _ := d.uploads.queue.Backlog()
			if again := uploads == 2; again != both || d.present.Has(key) != (!both && what == "replaced") {
				t.Errorf("%s, both at once %v: %d uploads, known to be there: %v", what, both, uploads, d.present.Has(key))
			}
			for range uploads {
				if _, end, ok := d.uploads.queue.Next(t.Context()); ok {
					end()
				}
			}
		}
	}
}

// A comparison that fails is made again, but not all the time: each lists the bucket.
func TestCatchingUpTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		f := New(Options{Catalog: func(context.Context) (*storage.Catalog, error) {
			calls.Add(1)
			return nil, storage.ErrNoIndex
		}})
		f.Use("memory", deleting{Objects: vacant{}, meanwhile: func() {}})
		time.Sleep(90 * time.Second)
		if n := calls.Load(); n != 1 {
			t.Errorf("%d comparisons after a minute", n)
		}
		time.Sleep(3 * time.Hour)
		if n := calls.Load(); n < 10 || n > 20 {
			t.Errorf("%d comparisons in three hours", n)
		}
		f.Close()
	})
}

// vacant is a bucket that has nothing, and takes what it is given.
type vacant struct{ bucket.Objects }

func (vacant) Get(context.Context, string, int64, int64) (bucket.Object, error) {
	return bucket.Object{}, fs.ErrNotExist
}

func (vacant) Head(context.Context, string) (bucket.Info, error) {
	return bucket.Info{}, fs.ErrNotExist
}

func (vacant) List(context.Context, string, string) iter.Seq2[bucket.Info, error] {
	return func(func(bucket.Info, error) bool) {}
}

func (vacant) Put(context.Context, string, io.ReadSeeker, int64, bucket.PutOptions) error { return nil }

// Nothing starts once a life is over, and its end waits for what runs.
func TestLife(t *testing.T) {
	var l life
	l.ctx, l.end = context.WithCancel(t.Context())
	ended := false
	l.start(func() {
		<-l.ctx.Done()
		ended = true
	})
	l.close()
	l.start(func() { t.Error("it starts after the end") })
	if l.close(); !ended {
		t.Error("it is not waited for")
	}
}
