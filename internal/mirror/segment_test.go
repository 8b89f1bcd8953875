package mirror_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// A reader far ahead of a slow download gets a segment of its own, and no byte
// is asked for twice.
func TestFarReaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size = 64 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached, open := make(chan struct{}), make(chan struct{})
	slow := sync.OnceFunc(func() { close(reached) })
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) && r.Header.Get("Range") == "" { // the first one comes to a halt
			w = &gate{ResponseWriter: w, left: 2 * mib, reached: slow, open: open, gone: r.Context().Done()}
		}
		next(w, r)
	})
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	<-reached
	// The speed of a segment counts from its first byte. Had none arrived when the
	// clock is moved, it would never be found slow: the clock stands still.
	first := make([]byte, 1)
	if _, err := io.ReadFull(b.Content, first); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(10 * time.Second) // 200 KiB/s
	var readers sync.WaitGroup
	for _, start := range []int64{48 * mib, 5 * mib, 32*mib + 7, 60 * mib} {
		readers.Go(func() {
			b, _, err := f.mirror.Blob(t.Context(), r)
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Content.Close()
			_, _ = b.Content.Seek(start, io.SeekStart)
			raw := make([]byte, mib)
			if start == 5*mib { // near enough to wait
				return
			}
			if n, err := io.ReadFull(b.Content, raw); err != nil || !bytes.Equal(raw, want[start:start+mib]) {
				t.Errorf("at %d: %d wrong bytes, %v", start, n, err)
			}
		})
	}
	readers.Wait()
	close(open)
	if raw, err := readAll(b.Content, size); err != nil || !bytes.Equal(append(first, raw...), want) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
	if e := f.filled(); e.Bytes != size || !e.Stored {
		t.Errorf("event %+v", e)
	}
	requests := f.upstream.Requests()
	if n := len(requests); n < 2 || n > 4 {
		t.Errorf("%d GETs: %v", n, requests)
	}
	// What the upstream has sent into socket buffers when the first GET is cut
	// at another's range is lost, and the kernel makes them tens of MiB large where
	// readers get little of the processor; the fill took no byte twice.
	if n := f.upstream.BlobBytes(); n > 2*size {
		t.Errorf("the upstream sent %.2f times the blob in %v", float64(n)/size, requests)
	}
}

// What containerd does with concurrent_layer_fetch_buffer: many open-ended
// ranges at once, each closed early. Where the upstream is fast, all wait for
// the one GET.
func TestParallelOpenEndedRanges(t *testing.T) { inBothModes(t, testParallelOpenEndedRanges) }

func testParallelOpenEndedRanges(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.pullParallel(registrytest.Random(1, testenv.Rounds(64, 256)*mib), 20)
	f.saw(0, 1)
}

// Where it is not, they get segments of their own, and none pulls what another
// one does.
func TestParallelSegments(t *testing.T) { inBothModes(t, bubble(testParallelSegments)) }

func testParallelSegments(t *testing.T) {
	const size = 64 * mib
	f := newFixture(t)
	f.clock.run()
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) {
			w = &slow{ResponseWriter: w, rate: 4 * mib, began: time.Now()}
		}
		next(w, r)
	})
	f.pullParallel(registrytest.Random(1, size), 8)
	requests := f.upstream.Requests()
	if len(requests) < 2 {
		t.Errorf("no segments: %v", requests)
	}
	// Each end of a GET at another's beginning loses what was on its way.
	if sent, most := f.upstream.BlobBytes(), size+int64(len(requests)-1)*mib; sent > most {
		t.Errorf("the upstream sent %.3f times the blob in %v", float64(sent)/size, requests)
	}
}

// pullParallel reads a cold blob in as many ranges at once, and asserts that the
// fill took every byte once.
func (f *fixture) pullParallel(want []byte, parts int) {
	f.t.Helper()
	size := len(want)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	var readers sync.WaitGroup
	for i := range parts {
		readers.Go(func() {
			b, _, err := f.mirror.Blob(f.t.Context(), r)
			if err != nil {
				f.t.Error(err)
				return
			}
			defer b.Content.Close()
			start, end := size/parts*i, size/parts*(i+1)
			if i == parts-1 {
				end = size
			}
			_, _ = b.Content.Seek(int64(start), io.SeekStart)
			raw := make([]byte, 512<<10)
			for off := start; off < end; {
				n, err := b.Content.Read(raw)
				if err != nil || !bytes.Equal(raw[:n], want[off:off+n]) {
					f.t.Errorf("range %d at %d: %v", i, off, err)
					return
				}
				off += n
			}
		})
	}
	readers.Wait()
	if e := f.filled(); e.Bytes != int64(size) || !e.Stored {
		f.t.Errorf("event %+v", e)
	}
}

// A segment is kept clear of from the moment it is begun, not from its first byte.
func TestSegmentStopsAtAnothersClaim(t *testing.T) { inBothModes(t, testSegmentStopsAtAnothersClaim) }

func testSegmentStopsAtAnothersClaim(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size, far = 32 * mib, 16 * mib
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	reached, open, asked, first := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Header.Get("Range") != "" {
			close(asked)
			<-first
			next(w, r)
			return
		}
		defer close(first)
		next(&gate{ResponseWriter: w, left: 2 * mib, reached: func() { close(reached) }, open: open, gone: r.Context().Done()}, r)
	})
	b, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	<-reached
	if _, err := io.ReadFull(b.Content, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	f.clock.advance(10 * time.Second)
	if _, err := b.Content.Seek(far, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	go func() {
		<-asked
		close(open)
	}()
	if raw, err := readAll(b.Content, size); err != nil || !bytes.Equal(raw, want[far:]) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
	if e := f.filled(); e.Bytes != size {
		t.Errorf("event %+v of %v", e, f.upstream.Requests())
	}
	f.saw(0, 2)
}

// One client that begins far ahead of a fast upstream waits for it, and has no
// segment made, also where the upstream takes its time to begin.
func TestFarReaderOfAFastUpstream(t *testing.T) { bubble(testFarReaderOfAFastUpstream)(t) }

func testFarReaderOfAFastUpstream(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		f := newFixture(t)
		f.clock.run()
		const size, far = 64 * mib, 24 * mib
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		if resumed { // so that the first GET is not the one that told the size
			f.suspend(d, want, mib)
		}
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if resumed && r.Header.Get("Range") != "" {
				time.Sleep(500 * time.Millisecond)
			}
			next(w, r)
		})
		b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Content.Seek(far, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if raw, err := readAll(b.Content, size); err != nil || !bytes.Equal(raw, want[far:]) {
			t.Errorf("%d wrong bytes, %v", len(raw), err)
		}
		_ = b.Content.Close()
		f.filled()
		f.saw(0, 1)
	}
}
