package mirror_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// slowly has each connection be a line of its own.
func slowly(rate float64) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) {
			w = paced{w, &line{rate: rate}}
		}
		next(w, r)
	}
}

// readPiece reads some bytes of a blob as a client of a range does, and returns how
// long that took.
func (f *fixture) readPiece(d digest.Digest, want []byte, off, n int) time.Duration {
	f.t.Helper()
	began := time.Now()
	b, _, err := f.mirror.Blob(f.t.Context(), blobRequest(d))
	if err != nil {
		f.t.Error(err)
		return 0
	}
	defer b.Content.Close()
	_, _ = b.Content.Seek(int64(off), io.SeekStart)
	raw := make([]byte, n)
	if got, err := io.ReadFull(b.Content, raw); err != nil || !bytes.Equal(raw, want[off:off+n]) {
		f.t.Errorf("at %d: %d wrong bytes, %v", off, got, err)
	}
	return time.Since(began)
}

// What is not expected soon is asked for, however near it is.
func TestNearRangeOnASlowLine(t *testing.T) { bubble(testNearRangeOnASlowLine)(t) }

func testNearRangeOnASlowLine(t *testing.T) {
	f := newFixture(t)
	f.clock.run()
	const size, rate = 6 * mib, 512 << 10
	want := registrytest.Random(1, size)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.Hook(slowly(rate))
	first, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Content.Close()
	if took := f.readPiece(d, want, 3_900_000, 64<<10); took > 2*time.Second {
		t.Errorf("a range took %s", took)
	}
	// What comes within the second is waited for.
	gets := f.upstream.Count(http.MethodGet, "blobs")
	f.readPiece(d, want, 3_900_000+128<<10, 64<<10)
	if n := f.upstream.Count(http.MethodGet, "blobs"); n != gets {
		t.Errorf("%d GETs, want %d", n, gets)
	}
}

// Random reads of a running blob, more than there are segments, wait for none of each
// other: what nobody waits for makes room.
func TestRandomReads(t *testing.T) { inBothModes(t, bubble(testRandomReads)) }

func testRandomReads(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		f := newFixture(t)
		f.clock.run()
		f.policy.Parallel = parallel
		f.configure()
		const size, rate = 64 * mib, 2 * mib
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		f.upstream.Hook(slowly(rate))
		first, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			off := (i*37 + 20) % 60 * mib
			if took := f.readPiece(d, want, off, 100_000); took > 2500*time.Millisecond {
				t.Errorf("parallel %d: read %d, at %d MiB, took %s", parallel, i, off/mib, took)
			}
		}
		var reads sync.WaitGroup
		for _, off := range []int{7 * mib, 27 * mib, 51 * mib} {
			reads.Go(func() {
				if took := f.readPiece(d, want, off, 100_000); took > 2500*time.Millisecond {
					t.Errorf("parallel %d: the read at %d MiB took %s", parallel, off/mib, took)
				}
			})
		}
		reads.Wait()
		f.upstream.Hook(nil) // the rest comes at once, and all of it is right
		f.upstream.CutConnections()
		if raw, err := readAll(first.Content, size); err != nil || !bytes.Equal(raw, want) {
			t.Errorf("%d wrong bytes, %v", len(raw), err)
		}
		_ = first.Content.Close()
		if e := f.filled(); e.Bytes != size || !e.Stored {
			t.Errorf("event %+v", e)
		}
	}
}
