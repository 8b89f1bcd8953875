package fleet

import (
	"context"
	"io"
	"io/fs"
	"iter"
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

// deleting is a bucket in which something happens while an object is removed.
type deleting struct {
	bucket.Objects

	meanwhile func()
}

func (d deleting) Delete(context.Context, string) error {
	d.meanwhile()
	return nil
}

// An object that was replaced while it was removed may be gone: all is compared again.
func TestRemovalOfWhatWasReplaced(t *testing.T) {
	key := blobKey(oci.Sum(nil))
	for _, replaced := range []bool{false, true} {
		var d *depot
		d = newDepot("memory", deleting{meanwhile: func() {
			if replaced {
				d.present.Add(key, time.Minute)
			}
		}}, New(Options{}))
		d.wrong.Add(key, time.Minute)
		if err := d.uploads.remove(t.Context(), key); err != nil || d.wrong.Has(key) || d.uploads.behind.Load() != replaced {
			t.Errorf("replaced %v: %v, behind %v", replaced, err, d.uploads.behind.Load())
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
