package mirror_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

func extent(start, end int64) oci.Extents { return oci.Extents{{Start: start, End: end}} }

// The places where a part of 4 MiB or 600 KiB can break: never made, at the
// first byte, in between, in the end that is held back.
var rooms = map[int][]int64{
	600 << 10: {-1, 0, 300 << 10, 599 << 10},
	4*mib + 3: {-1, 0, mib, 4*mib - 60<<10, 4 * mib},
}

// A part whose bytes of an earlier fill cannot be read back is given up. Small blobs
// are begun anew in memory; of others no wrong byte comes, and the next request does
// not have to do with the part any more.
func TestUnreadablePart(t *testing.T) { inBothModes(t, testUnreadablePart) }

func testUnreadablePart(t *testing.T) {
	t.Parallel()
	for size, small := range map[int]bool{600 << 10: true, 4*mib + 3: false} {
		f := newFixture(t)
		want := registrytest.Random(1, size)
		r := blobRequest(f.upstream.PutBlob(repository, want))
		f.suspend(r.Reference.Digest, want, 400<<10)
		f.cache.FailReads(300<<10, syscall.EIO)
		raw, _, err := f.pull(t.Context(), r)
		if small && (err != nil || !bytes.Equal(raw, want)) {
			t.Errorf("%d bytes: got %d wrong ones, %v", size, len(raw), err)
		}
		if !small && (err == nil || !bytes.HasPrefix(want, raw)) {
			t.Errorf("%d bytes: got %d, %v", size, len(raw), err)
		}
		if e := f.filled(); e.Stored {
			t.Errorf("event %+v", e)
		}
		f.cache.FailReads(0, nil)
		f.upstream.Reset()
		f.mustPull(r, want, oci.ResultMiss)
		if got := f.upstream.BlobBytes(); got != int64(size) {
			t.Errorf("the upstream sent %d bytes of %d", got, size)
		}
	}
}

// A reader for whom the part fails gets no wrong byte and no clean end.
func TestReaderOfUnreadablePart(t *testing.T) { inBothModes(t, testReaderOfUnreadablePart) }

func testReaderOfUnreadablePart(t *testing.T) {
	t.Parallel()
	for _, size := range []int{600 << 10, 4*mib + 3} {
		f := newFixture(t)
		f.cache.FailReads(300<<10, syscall.EIO)
		want := registrytest.Random(1, size)
		r := blobRequest(f.upstream.PutBlob(repository, want))
		raw, _, err := f.pull(t.Context(), r)
		if !errors.Is(err, syscall.EIO) || !bytes.HasPrefix(want, raw) || len(raw) > 300<<10 {
			t.Errorf("%d bytes: got %d, %v", size, len(raw), err)
		}
		f.filled()
		f.mustPull(r, want, oci.ResultHit) // it was nothing but that reading
	}
}

func TestFullDisk(t *testing.T) { inBothModes(t, testFullDisk) }

func testFullDisk(t *testing.T) {
	t.Parallel()
	for size, at := range rooms {
		for _, room := range at {
			t.Run(strconv.Itoa(size)+" with room for "+strconv.FormatInt(room, 10), func(t *testing.T) {
				f := newFixture(t)
				f.cache.FailParts(room, storage.ErrNoSpace)
				want := registrytest.Random(1, size)
				r := blobRequest(f.upstream.PutBlob(repository, want))
				var readers sync.WaitGroup
				for range 5 {
					readers.Go(func() {
						raw, _, err := f.pull(t.Context(), r)
						if err != nil || !bytes.Equal(raw, want) {
							t.Errorf("%d wrong bytes, %v", len(raw), err)
						}
					})
				}
				readers.Wait()
				f.idle() // who came late may have begun another one
				if e := f.filled(); e.Stored || e.Class != oci.ClassNone {
					t.Errorf("event %+v", e)
				}
				if _, err := f.store.StatBlob(t.Context(), r.Reference.Digest); err == nil {
					t.Error("it is stored")
				}
				f.cache.FailParts(1<<40, nil)
				f.mustPull(r, want, oci.ResultMiss)
				f.reopen()
				f.mustPull(r, want, oci.ResultHit)
			})
		}
	}
}

func TestOnePullOnAFullDiskIsOneGet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cache.FailParts(-1, storage.ErrNoSpace)
	want := registrytest.Random(1, 4*mib)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	raw, status, err := f.pull(t.Context(), r)
	if err != nil || !bytes.Equal(raw, want) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
	if status.Stored || status.Detail != "no_space" {
		t.Errorf("status %+v", status)
	}
	f.saw(0, 1)
}

// Also where the part breaks in the end that is held back.
func TestWrongEndOnAFullDisk(t *testing.T) { inBothModes(t, testWrongEndOnAFullDisk) }

func testWrongEndOnAFullDisk(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	f := newFixture(t)
	f.cache.SkipWaits()
	f.cache.FailParts(size-20<<10, storage.ErrNoSpace)
	b := registrytest.Random(1, size)
	d := digest.FromBytes(b)
	b[size-40<<10] ^= 1
	f.upstream.PutBlobAs(repository, d, b)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Header.Get("Range") == "" { // so that the next write begins there
			w = &cut{ResponseWriter: w, left: size - 30<<10}
		}
		next(w, r)
	})
	if raw, _, err := f.pull(t.Context(), blobRequest(d)); class(err) != oci.ClassDigest || len(raw) > size-64<<10 {
		t.Errorf("got %d bytes, %v", len(raw), err)
	}
}

// A lying upstream is found out on a full disk too, wherever the part broke.
func TestWrongDigestOnAFullDisk(t *testing.T) { inBothModes(t, testWrongDigestOnAFullDisk) }

func testWrongDigestOnAFullDisk(t *testing.T) {
	t.Parallel()
	for size, at := range rooms {
		for _, room := range at {
			for _, wrongAt := range []int{0, size / 2, size - 1} {
				f := newFixture(t)
				f.cache.FailParts(room, storage.ErrNoSpace)
				b := registrytest.Random(1, size)
				d := digest.FromBytes(b)
				b[wrongAt] ^= 1
				f.upstream.PutBlobAs(repository, d, b)
				raw, _, err := f.pull(t.Context(), blobRequest(d))
				if class(err) != oci.ClassDigest {
					t.Errorf("%d bytes with room for %d, wrong at %d: got %d, %v", size, room, wrongAt, len(raw), err)
				}
				_, _, err = f.mirror.Blob(t.Context(), blobRequest(d))
				wantStatus(t, err, http.StatusBadGateway)
			}
		}
	}
}

// What is stored can be read in any order; what comes past it, only once and from
// there on. Nothing else can be verified, and each jump would be a GET.
func TestSeekOnAFullDisk(t *testing.T) { inBothModes(t, testSeekOnAFullDisk) }

func testSeekOnAFullDisk(t *testing.T) {
	t.Parallel()
	const size = 4 * mib
	for room, jumps := range map[int64][]struct {
		off, least int64
		whole      bool
	}{
		-1:      {{off: 3 * mib}, {off: 0, whole: true}, {off: size - 10}, {off: 0}},
		2 * mib: {{off: 3 * mib}, {off: size - 10}, {off: mib, whole: true}, {off: 0, least: mib}, {off: 3 * mib}},
	} {
		f := newFixture(t)
		f.cache.FailParts(room, storage.ErrNoSpace)
		want := registrytest.Random(1, size)
		b, _, err := f.mirror.Blob(t.Context(), blobRequest(f.upstream.PutBlob(repository, want)))
		if err != nil {
			t.Fatal(err)
		}
		f.filled()
		for _, jump := range jumps {
			if _, err := b.Content.Seek(jump.off, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			raw, err := io.ReadAll(b.Content)
			if !bytes.HasPrefix(want[jump.off:], raw) || int64(len(raw)) < jump.least || jump.whole != (err == nil) || !jump.whole && !errors.Is(err, oci.ErrPasses) {
				t.Errorf("from %d with room for %d: %d bytes, %v", jump.off, room, len(raw), err)
			}
		}
		_ = b.Content.Close()
		if gets := len(f.upstream.Requests()); gets > 2 {
			t.Errorf("with room for %d: %d GETs", room, gets)
		}
	}
}

// A pull on a full disk survives a cut like any other.
func TestCutOnAFullDisk(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cache.SkipWaits()
	f.cache.FailParts(-1, storage.ErrNoSpace)
	want := registrytest.Random(1, 4*mib)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&cut{ResponseWriter: w, left: mib}, r)
	})
	if raw, _, err := f.pull(t.Context(), blobRequest(d)); err != nil || !bytes.Equal(raw, want) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
}

func TestFailedCommit(t *testing.T) { inBothModes(t, testFailedCommit) }

func testFailedCommit(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 4 * mib} {
		f := newFixture(t)
		f.cache.FailCommits()
		want := registrytest.Random(1, size)
		r := blobRequest(f.upstream.PutBlob(repository, want))
		f.mustPull(r, want, oci.ResultMiss)
		if e := f.filled(); e.Stored || e.Class != oci.ClassNone {
			t.Errorf("event %+v", e)
		}
		if _, err := f.store.StatBlob(t.Context(), r.Reference.Digest); err == nil {
			t.Error("it is stored")
		}
	}
}

// With the whole store gone, everything still comes through.
func TestStoreIsGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 3*mib)
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, status, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err != nil || m.Digest != image.Index.Digest || status.Stored {
			t.Errorf("tag: %v, %v", status, err)
		}
		p := image.Platforms[0]
		m, _, err = f.mirror.Manifest(t.Context(), manifestRequest(p.Manifest.Digest.String()))
		if err != nil || !bytes.Equal(m.Bytes, p.ManifestBytes) {
			t.Errorf("digest: %v", err)
		}
		for _, layer := range append(p.Layers, p.Config) {
			raw, status, err := f.pull(t.Context(), blobRequest(layer.Digest))
			if err != nil || digest.FromBytes(raw) != layer.Digest || status.Stored {
				t.Errorf("blob: %v, %v", status, err)
			}
		}
		if ds, _, err := f.mirror.Referrers(t.Context(), blobRequest(m.Digest)); err != nil || len(ds) != 0 {
			t.Errorf("referrers: %v, %v", ds, err)
		}
		if list, _, err := f.mirror.Tags(t.Context(), manifestRequest("3"), oci.TagsPage{N: -1}); err != nil || len(list.Tags) != 1 {
			t.Errorf("tags: %v, %v", list, err)
		}
	}
	if _, err := f.store.Tag(t.Context(), oci.Scope{Upstream: upstreamName, Repository: repository}, "3"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("the store is not gone: %v", err)
	}
}
