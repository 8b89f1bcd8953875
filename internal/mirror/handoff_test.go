package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// countReads counts the bytes that are read back from parts, except those of readers
// that have a file of their own.
func (f *fixture) countReads() *atomic.Int64 {
	var count atomic.Int64
	f.cache.WatchParts(func(_, n int64) { count.Add(n) }, func(_, _ int64) {})
	return &count
}

// fillOnly fills without a reader that reads before the end.
func (f *fixture) fillOnly(r oci.Request, want []byte) {
	f.t.Helper()
	b, _, err := f.mirror.Blob(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := b.Content.Close(); err != nil {
		f.t.Error(err)
	}
	if e := f.filled(); !e.Stored {
		f.t.Errorf("event %+v", e)
	}
	f.mustPull(r, want, oci.ResultHit)
}

// Of a fill that begins at the start and goes on to the end, nothing is read back to
// be hashed, whatever its size is and whether or not it is told.
func TestNothingIsReadBack(t *testing.T) {
	t.Parallel()
	for _, inSegments := range []bool{false, true} {
		f := newFixture(t)
		f.hashInSegments(inSegments)
		count := f.countReads()
		for k, size := range []int{1, 64 << 10, 600 << 10, mib, mib + 1, mib + 64<<10, 8*mib + 3} {
			for _, untold := range []bool{false, true} {
				f.upstream.Hook(registrytest.Spoil{Chunked: untold, Piece: 50_000}.Hook())
				want := registrytest.Random(uint64(k), size)
				if untold {
					want[0] ^= 1 // another blob
				}
				f.fillOnly(blobRequest(f.upstream.PutBlob(repository, want)), want)
				if n := count.Swap(0); n != 0 {
					t.Errorf("%d bytes of %d were read back, hashed in segments: %t", n, size, inSegments)
				}
			}
		}
	}
}

// The download does not wait for the hasher while that reads back what an earlier fill
// has left, and the hasher then reads back what it has missed.
func TestNobodyWaitsForTheHasher(t *testing.T) {
	t.Parallel()
	const size, kept, missed = 8 * mib, 2 * mib, 6 * mib
	f := newFixture(t)
	want := registrytest.Random(1, size)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	f.suspend(r.Reference.Digest, want, kept)
	var count atomic.Int64
	came := make(chan struct{})
	arrived := sync.OnceFunc(func() { close(came) })
	f.cache.WatchParts(func(off, n int64) {
		count.Add(n)
		if off == 0 {
			select {
			case <-came:
			case <-time.After(20 * time.Second):
				t.Error("the download waits")
			}
		}
	}, func(off, _ int64) {
		if off >= missed {
			arrived()
		}
	})
	f.fillOnly(r, want)
	if n := count.Load(); n < missed-mib {
		t.Errorf("%d bytes were read back", n)
	}
}

// Whatever the order in which the bytes of a blob come, wherever they are cut off and
// whatever an earlier fill has left, the right ones are stored, and a wrong one is
// found. Fills run beside each other, for they share buffers.
func TestFillsInPieces(t *testing.T) { inBothModes(t, testFillsInPieces) }

func testFillsInPieces(t *testing.T) {
	t.Parallel()
	seed, rounds := testenv.Seed(t), testenv.Rounds(5, 100)
	var fills sync.WaitGroup
	for k := range uint64(4) {
		f := newFixture(t)
		f.hashInSegments(k%2 == 0)
		f.cache.SkipWaits()
		fills.Go(func() {
			random := rand.New(rand.NewPCG(seed, k))
			for i := range uint64(rounds) {
				f.fillInPieces(random, seed+k*uint64(rounds)+i)
			}
		})
	}
	fills.Wait()
}

func (f *fixture) fillInPieces(random *rand.Rand, seed uint64) {
	size := 1 + random.IntN([]int{mib, 6 * mib}[random.IntN(2)])
	want := registrytest.Random(seed, size)
	sent := bytes.Clone(want)
	var kept oci.Extents
	for start := int64(random.IntN(size)) * int64(random.IntN(2)); random.IntN(3) > 0 && start < int64(size); {
		end := min(int64(size), start+1+random.Int64N(mib))
		kept = append(kept, oci.Extent{Start: start, End: end})
		start = end + 1 + random.Int64N(mib)
	}
	wrong := -1
	if random.IntN(4) == 0 {
		wrong = random.IntN(size)
		for _, e := range kept {
			if e.Start <= int64(wrong) && int64(wrong) < e.End {
				kept = nil // or it would not be asked for
			}
		}
		sent[wrong] ^= 1
	}
	d := digest.FromBytes(want)
	f.upstream.PutBlobAs(repository, d, sent)
	untold := random.IntN(4) == 0 && kept == nil
	cuts, piece := random.IntN(6), 1000+random.IntN(200_000)
	var mu sync.Mutex
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		mu.Lock()
		spoil := registrytest.Spoil{Piece: piece, Chunked: untold}
		if cuts--; cuts >= 0 && isBlob(r) {
			spoil.Cut, spoil.After = true, int64(1+random.IntN(size))
		}
		mu.Unlock()
		spoil.Hook()(w, r, next)
	})
	if kept != nil {
		f.leave(d, want, kept)
	}
	got, _, err := f.pull(f.t.Context(), blobRequest(d))
	e := f.filled()
	for e.Digest != d {
		e = f.filled() // a part that may be to blame for a wrong byte is filled anew at once
	}
	what := func(text string) {
		f.t.Errorf("%d bytes, kept %v, wrong at %d, size not told: %t, pieces of %d: %s: got %d, %v, %+v",
			size, kept, wrong, untold, piece, text, len(got), err, e)
	}
	switch {
	case wrong >= 0 && (class(err) != oci.ClassDigest || e.Stored):
		what("a wrong byte passes")
	case wrong < 0 && (err != nil || !e.Stored || !bytes.Equal(got, want)):
		what("it does not come whole")
	case wrong < 0:
		if got, _, err = f.pull(f.t.Context(), blobRequest(d)); err != nil || !bytes.Equal(got, want) {
			what("what is stored is not what was verified")
		}
	}
}

// leave leaves a part with some of the bytes of a blob.
func (f *fixture) leave(d digest.Digest, b []byte, kept oci.Extents) {
	p, err := f.store.Part(context.Background(), own, d, int64(len(b)))
	if err != nil {
		f.t.Error(err)
		return
	}
	for _, e := range kept {
		if _, err := p.WriteAt(b[e.Start:e.End], e.Start); err != nil {
			f.t.Error(err)
		}
	}
	if err := errors.Join(p.Suspend(kept), p.Close()); err != nil {
		f.t.Error(err)
	}
}

// Of what several segments bring at once, the hasher reads back what was ahead of it;
// the right bytes are stored, and a wrong one is found, whichever segment brings it.
func TestFreshBytesOfSegments(t *testing.T) {
	t.Parallel()
	const size, halt, far = 24 * mib, 2 * mib, 12 * mib
	for _, wrong := range []int{-1, halt + mib, far + mib} {
		t.Run(strconv.Itoa(wrong), func(t *testing.T) {
			f := newFixture(t)
			count := f.countReads()
			b := registrytest.Random(1, size)
			d := digest.FromBytes(b)
			if wrong >= 0 {
				b[wrong] ^= 1
			}
			f.upstream.PutBlobAs(repository, d, b)
			reached, open := make(chan struct{}), make(chan struct{})
			stopped := sync.OnceFunc(func() { close(reached) })
			f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				if isBlob(r) && r.Header.Get("Range") == "" {
					w = &gate{ResponseWriter: w, left: halt, reached: stopped, open: open, gone: r.Context().Done()}
				}
				next(w, r)
			})
			first, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
			if err != nil {
				t.Fatal(err)
			}
			defer first.Content.Close()
			<-reached
			if _, err := io.ReadFull(first.Content, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			f.clock.advance(10 * time.Second)
			if _, err := first.Content.Seek(far, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(first.Content, make([]byte, size-far-64<<10)); err != nil {
				t.Fatal(err)
			}
			close(open)
			if e := f.filled(); e.Stored != (wrong < 0) || e.Bytes != size || wrong >= 0 && e.Class != oci.ClassDigest {
				t.Errorf("%+v", e)
			}
			// The reader has read some of it, too, and all that was ahead.
			if n := count.Load(); n > 1+2*(size-far) {
				t.Errorf("%d bytes were read back", n)
			}
		})
	}
}

// heedless is an upstream whose answers do not end with their context.
type heedless struct {
	told

	asked chan context.Context
}

func (h heedless) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	h.asked <- ctx
	return h.told.Blob(ctx, repository, d, offset, length)
}

// A segment that goes on after the hasher has ended does not wait for it.
func TestSegmentOutlivesTheHasher(t *testing.T) {
	t.Parallel()
	const size, kept = 8 * mib, mib
	f := newFixture(t)
	want := registrytest.Random(1, size)
	d := oci.Sum(want)
	f.suspend(d, want, kept)
	upstream := heedless{told{f.remote, want, mib}, make(chan context.Context, 2)}
	f.policy.Remote = upstream
	f.configure()
	last, closed, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	reached := sync.OnceFunc(func() { close(last) })
	end := sync.OnceFunc(func() {
		<-last
		go func() {
			defer close(closed)
			f.cache.Close()
		}()
		<-(<-upstream.asked).Done()
		close(ended)
		time.Sleep(50 * time.Millisecond) // for the hasher to find that out, where the segment is
	})
	f.cache.WatchParts(func(off, n int64) {
		if off+n >= kept {
			reached()
			<-ended
		}
	}, func(_, _ int64) { end() })
	b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Content.Close()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Fatal("the cache does not close")
	}
	if e := f.filled(); e.Stored || e.Class != oci.ClassCanceled {
		t.Errorf("%+v", e)
	}
}
