package fill

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// faulty panics, in its GET or as it makes its part.
type faulty struct {
	*bucket

	get, part bool
	closed    bool // its body
}

func (b *faulty) Blob(ctx context.Context, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	if b.get {
		panic("a fault of the source")
	}
	body, err := b.bucket.Blob(ctx, d, offset, length)
	body.ReadCloser = closing{body.ReadCloser, &b.closed}
	return body, err
}

func (b *faulty) Part(ctx context.Context, size int64) (Part, error) {
	if b.part {
		panic("a fault of the store")
	}
	return b.bucket.Part(ctx, size)
}

type closing struct {
	io.ReadCloser

	closed *bool
}

func (c closing) Close() error {
	*c.closed = true
	return c.ReadCloser.Close()
}

// A panic leaves no GET behind: what another fill is refused is not due to it.
func TestPanicLeavesNoGET(t *testing.T) {
	for name, b := range map[string]*faulty{"source": {get: true}, "store": {part: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b.bucket = &bucket{blob: make([]byte, 2<<20)}
				panics := 0
				all := &Downloads{
					Now: time.Now, After: time.After, Panicked: func() { panics++ }, SizePatience: time.Minute, Processors: 2,
				}
				f := start(t, b, Options{Downloads: all, Digest: digest.FromString("one"), Size: -1})
				if _, err := f.Ready(t.Context(), -1); err == nil {
					t.Errorf("%s: no error", name)
				}
				<-f.Done()
				f.Leave()
				if panics != 1 || !b.closed && !b.get {
					t.Errorf("%s: %d panics, body closed: %t", name, panics, b.closed)
				}
				time.Sleep(10 * time.Second) // a GET that is cut off counts for a while
				began := time.Now()
				other := start(t, &refusing{&bucket{}}, Options{Downloads: all, Digest: digest.FromString("two"), Size: -1})
				_, err := other.Ready(t.Context(), -1)
				if oci.AsError(err).UpstreamStatus != 503 || time.Since(began) > 0 {
					t.Errorf("%s: %v after %v", name, err, time.Since(began))
				}
				other.Leave()
				<-other.Done()
			})
		})
	}
}

type refusing struct{ *bucket }

func (refusing) Blob(context.Context, digest.Digest, int64, int64) (oci.BlobBody, error) {
	return oci.BlobBody{}, &oci.Error{Code: oci.CodeUnavailable, Status: 502, UpstreamStatus: 503, Class: oci.ClassStatus}
}

// half holds the first half of a blob, and panics when that is read.
type half struct {
	*bucket

	size int64
}

func (h half) Suspended(context.Context) (int64, bool) { return h.size, true }

func (h half) Part(context.Context, int64) (Part, error) {
	return halfPart{newMemory(h.size), h.size / 2}, nil
}

type halfPart struct {
	*memory

	end int64
}

func (p halfPart) Covered() oci.Extents { return oci.Extents{{End: p.end}} }

func (p halfPart) ReadAt([]byte, int64) (int, error) { panic("a fault of the store") }

// A panic of the hasher is an error at once, and not when all has come.
func TestPanicOfTheHasher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		let := make(chan struct{})
		b := half{&bucket{blob: make([]byte, size), body: func(_ int, r io.Reader) io.Reader { return waiting{r, let} }}, size}
		panics := 0
		all := &Downloads{
			Now: time.Now, After: time.After, Panicked: func() { panics++ }, SizePatience: time.Minute, Processors: 2,
		}
		f := start(t, b, Options{Downloads: all, Digest: digest.FromString("one"), Size: -1})
		_, err := f.Ready(t.Context(), -1)
		if err == nil {
			r := f.Reader(t.Context(), size, false)
			err = r.AwaitVerified()
			_ = r.Close()
		} else {
			f.Leave()
		}
		if err == nil || panics != 1 {
			t.Errorf("%v, %d panics", err, panics)
		}
		close(let)
		<-f.Done()
	})
}
