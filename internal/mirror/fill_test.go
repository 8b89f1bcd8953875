package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

func TestManyReadersOneGet(t *testing.T) { inBothModes(t, testManyReadersOneGet) }

func testManyReadersOneGet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	size := testenv.Rounds(24, 64)*mib + 5
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	open := make(chan struct{})
	f.upstream.Hook(gated(16*mib, func() {}, open))
	var readers, halfway sync.WaitGroup
	halfway.Add(50)
	var miss, joined int
	var mu sync.Mutex
	for range 50 {
		readers.Go(func() {
			half := sync.OnceFunc(halfway.Done)
			defer half()
			b, status, err := f.mirror.Blob(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Content.Close()
			mu.Lock()
			switch status.Result {
			case oci.ResultMiss:
				miss++
			case oci.ResultJoined:
				joined++
			}
			mu.Unlock()
			buffer := make([]byte, 128<<10)
			for off := 0; ; {
				n, err := b.Content.Read(buffer)
				if !bytes.Equal(buffer[:n], want[off:off+n]) {
					t.Errorf("wrong bytes at %d", off)
					return
				}
				if off += n; off >= 16*mib-64<<10 {
					half() // long before the end, which is not sent yet
				}
				if errors.Is(err, io.EOF) && off == size {
					return
				}
				if err != nil {
					t.Errorf("at %d: %v", off, err)
					return
				}
			}
		})
	}
	halfway.Wait()
	if stats := f.cache.Stats(); stats.Fills != 1 || stats.Readers != 50 {
		t.Errorf("stats %+v", stats)
	}
	close(open)
	readers.Wait()
	if e := f.filled(); !e.Stored || e.Bytes != int64(size) {
		t.Errorf("event %+v", e)
	}
	if miss != 1 || joined != 49 {
		t.Errorf("%d misses, %d joined", miss, joined)
	}
	if n := f.upstream.BlobBytes(); n != int64(size) {
		t.Errorf("the upstream sent %d bytes, %.2f times the blob", n, float64(n)/float64(size))
	}
	f.saw(0, 1)
	f.mustPull(r, want, oci.ResultHit)
	f.saw(0, 0)
}

func TestFirstReaderLeaves(t *testing.T) { inBothModes(t, testFirstReaderLeaves) }

func testFirstReaderLeaves(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 8*mib)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	ctx, leave := context.WithCancel(t.Context())
	first, _, err := f.mirror.Blob(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	second, status, err := f.mirror.Blob(t.Context(), r)
	if err != nil || status.Result != oci.ResultJoined {
		t.Fatalf("%v, %v", status, err)
	}
	<-reached
	leave()
	_ = first.Content.Close()
	close(open)
	if raw, err := io.ReadAll(second.Content); err != nil || !bytes.Equal(raw, want) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
	_ = second.Content.Close()
	f.filled()
	f.saw(0, 1)
}

func TestCutsAreResumed(t *testing.T) { inBothModes(t, testCutsAreResumed) }

func testCutsAreResumed(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	f.cache.SkipWaits()
	for i := range 20 {
		size := 1 + random.IntN(4*mib)
		want := registrytest.Random(seed+uint64(i), size)
		var mu sync.Mutex
		cuts := 1 + random.IntN(12)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			mu.Lock()
			cuts--
			if cuts >= 0 {
				w = &cut{ResponseWriter: w, left: 1 + random.IntN(max(1, size/4))}
			}
			mu.Unlock()
			next(w, r)
		})
		f.mustPull(blobRequest(f.upstream.PutBlob(repository, want)), want, oci.ResultMiss)
		if e := f.filled(); e.Bytes != int64(size) || !e.Stored {
			t.Errorf("event %+v of a blob of %d", e, size)
		}
	}
}

func TestNoProgressEndsTheFill(t *testing.T) { inBothModes(t, testNoProgressEndsTheFill) }

func testNoProgressEndsTheFill(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cache.SkipWaits()
	want := registrytest.Random(1, 4*mib)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	var mu sync.Mutex
	gets := 0
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		mu.Lock()
		gets++
		first := gets == 1
		mu.Unlock()
		if first {
			next(&cut{ResponseWriter: w, left: 3 * mib}, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	raw, _, err := f.pull(t.Context(), r)
	if class(err) != oci.ClassStatus || !bytes.Equal(raw, want[:len(raw)]) || len(raw) > 3*mib {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
	f.filled()
	f.saw(0, 6)
	// What came is kept.
	f.upstream.Hook(nil)
	f.clock.advance(time.Minute)
	f.mustPull(r, want, oci.ResultMiss)
	f.filled()
	if n := f.upstream.BlobBytes(); n != mib {
		t.Errorf("the rest of 1 MiB cost %d bytes", n)
	}
}

// Without ranges a resumed download begins anew, and must fit.
func TestUpstreamWithoutRanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cache.SkipWaits()
	const size = 24 * mib
	want := registrytest.Random(1, size)
	var mu sync.Mutex
	gets := 0
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		noRanges(w, r)
		mu.Lock()
		gets++
		first := gets == 1
		mu.Unlock()
		if first {
			w = &cut{ResponseWriter: w, left: 3 * mib}
		}
		next(w, r)
	})
	r := blobRequest(f.upstream.PutBlob(repository, want))
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	if _, err := b.Content.Seek(20*mib, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(b.Content); err != nil || !bytes.Equal(raw, want[20*mib:]) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
	f.filled()
	f.saw(0, 2)
}

func TestCloseSuspends(t *testing.T) { inBothModes(t, testCloseSuspends) }

func testCloseSuspends(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size, sent = 16 * mib, 9 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached := make(chan struct{})
	f.upstream.Hook(gated(sent, func() { close(reached) }, nil))
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	if _, err := io.CopyN(io.Discard, b.Content, sent); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	if n, err := io.Copy(io.Discard, b.Content); err == nil {
		t.Errorf("a reader of a suspended fill got %d bytes and a clean end", n)
	}
	_ = b.Content.Close()
	if e := f.filled(); e.Class != oci.ClassCanceled || e.Bytes != sent {
		t.Errorf("event %+v", e)
	}
	f.upstream.Hook(nil)
	f.upstream.Reset()
	f.mustPull(r, want, oci.ResultMiss)
	if e := f.filled(); e.Bytes != size-sent || !e.Stored {
		t.Errorf("event %+v", e)
	}
	f.saw(0, 1)
	if n := f.upstream.BlobBytes(); n > size-sent {
		t.Errorf("%d bytes were asked for again", n-(size-sent))
	}
}

// Bytes that went bad while a part was suspended are not held against the
// upstream.
func TestSuspendedPartWentBad(t *testing.T) { inBothModes(t, testSuspendedPartWentBad) }

func testSuspendedPartWentBad(t *testing.T) {
	t.Parallel()
	for _, size := range []int{mib, 4 * mib} {
		f := newFixture(t)
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		p, err := f.store.Part(t.Context(), own, d, int64(size))
		if err != nil {
			t.Fatal(err)
		}
		half := extent(0, int64(size/2))
		if _, err := p.WriteAt(make([]byte, size/2), 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.Suspend(half), p.Close()); err != nil {
			t.Fatal(err)
		}
		if size <= mib {
			raw, _, err := f.pull(t.Context(), blobRequest(d))
			if err != nil || !bytes.Equal(raw, want) {
				t.Errorf("%d wrong bytes, %v", len(raw), err)
			}
			f.filled()
			f.filled()
			continue
		}
		// Who comes when it has failed already has the next one.
		gate, open := registrytest.Hold(t)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) { next(heldBody{w, gate}, r) })
		b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, b.Content); class(err) != oci.ClassDigest {
			t.Errorf("got %v", err)
		}
		_ = b.Content.Close()
		f.filled()
		f.mustPull(blobRequest(d), want, oci.ResultMiss)
		f.filled()
	}
}

// heldBody sends the header of an answer, and the rest once the gate is open.
type heldBody struct {
	http.ResponseWriter

	gate <-chan struct{}
}

func (w heldBody) Write(p []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).Flush()
	<-w.gate
	return w.ResponseWriter.Write(p)
}

func TestClosedCache(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.upstream.PutBlob(repository, registrytest.Random(1, 1000))
	f.upstream.PutImage(repository, "3", 1, 10)
	f.cache.Close()
	_, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	wantStatus(t, err, http.StatusServiceUnavailable)
	_, _, err = f.mirror.Manifest(t.Context(), manifestRequest("3"))
	wantStatus(t, err, http.StatusServiceUnavailable)
	f.saw(0, 0)
}

// The request after a finished fill finds the fill or the file, never neither.
func TestNoGapBetweenFillAndFile(t *testing.T) { inBothModes(t, testNoGapBetweenFillAndFile) }

func testNoGapBetweenFillAndFile(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 2*mib)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	f.mustPull(r, want, oci.ResultMiss)
	for range 50 {
		raw, _, err := f.pull(t.Context(), r)
		if err != nil || !bytes.Equal(raw, want) {
			t.Fatal(fmt.Errorf("%d wrong bytes: %w", len(raw), err))
		}
	}
	f.saw(0, 1)
}
