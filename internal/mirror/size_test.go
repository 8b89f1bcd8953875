package mirror_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// suspend leaves a part with the first bytes of a blob.
func (f *fixture) suspend(d digest.Digest, b []byte, covered int) {
	f.t.Helper()
	p, err := f.store.Part(context.Background(), own, d, int64(len(b)))
	if err == nil {
		_, err = p.WriteAt(b[:covered], 0)
	}
	if err == nil {
		err = errors.Join(p.Suspend(extent(0, int64(covered))), p.Close())
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// wantLink asserts what the store knows.
func (f *fixture) wantLink(name string, d digest.Digest, size int) {
	f.t.Helper()
	link, err := f.store.Linked(context.Background(), oci.Scope{Upstream: upstreamName, Repository: name}, d)
	if err != nil || link.Size != int64(size) || !link.Proven {
		f.t.Errorf("%s: link %+v, %v; want one of %d bytes", name, link, err, size)
	}
}

// A manifest that lies about the size of an honest blob harms nobody.
func TestWrongSizeInManifest(t *testing.T) {
	t.Parallel()
	const other = "team/other"
	for _, size := range []int{1000, 3 * mib} {
		for _, told := range []int{0, size - 1, size + 1, 5 * mib} {
			t.Run(strconv.Itoa(size)+" as "+strconv.Itoa(told), func(t *testing.T) {
				f := newFixture(t)
				want := registrytest.Random(1, size)
				d := f.upstream.PutBlob(repository, want)
				f.upstream.PutBlob(other, want)
				f.namedBy(repository, d, told)
				f.namedBy(other, d, told)
				f.upstream.Reset()
				f.mustPull(blobRequest(d), want, oci.ResultMiss)
				if e := f.filled(); !e.Stored || e.Bytes != int64(size) {
					t.Errorf("event %+v", e)
				}
				f.saw(0, 1)
				f.wantLink(repository, d, size)
				f.namedBy(repository, d, told+1)
				f.upstream.Reset()
				f.mustPull(blobRequest(d), want, oci.ResultHit)
				f.saw(0, 0)
				f.mustPull(of(other, blobRequest(d)), want, oci.ResultMiss)
				f.saw(1, 0)
				f.wantLink(other, d, size)
			})
		}
	}
}

// Nor does a HEAD that does, also where a part was left, or the store is full.
func TestWrongSizeInHead(t *testing.T) { inBothModes(t, testWrongSizeInHead) }

func testWrongSizeInHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	seed := uint64(0)
	for _, size := range []int{1000, 3 * mib} {
		for _, told := range []int{0, size - 1, size + 1} {
			for _, suspended := range []int{0, size, told} {
				seed++
				want := registrytest.Random(seed, size)
				d := f.upstream.PutBlob(repository, want)
				f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					if r.Method == http.MethodHead {
						w.Header().Set("Content-Length", strconv.Itoa(told))
						return
					}
					next(w, r)
				})
				if suspended > 0 {
					f.suspend(d, append(bytes.Clone(want), 0)[:suspended], 500)
				}
				if got, _, err := f.mirror.StatBlob(t.Context(), blobRequest(d)); err != nil || got.Size != int64(told) {
					t.Fatalf("HEAD: %+v, %v", got, err)
				}
				f.mustPull(blobRequest(d), want, oci.ResultMiss)
				if e := f.filled(); !e.Stored {
					t.Errorf("event %+v", e)
				}
				f.wantLink(repository, d, size)
				f.mustPull(blobRequest(d), want, oci.ResultHit)
			}
		}
	}
}

// Where a manifest tells the size, a HEAD tells that, whatever the upstream's header
// says.
func TestSizeOfManifestInHead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const size = 1000
	want := registrytest.Random(1, size)
	d := f.upstream.PutBlob(repository, want)
	f.namedBy(repository, d, size)
	f.upstream.On(registrytest.Rule{Method: http.MethodHead, Reference: d.String(), Hook: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Length", "7")
	}})
	for range 2 {
		if got, _, err := f.mirror.StatBlob(t.Context(), blobRequest(d)); err != nil || got.Size != size || got.MediaType != "" {
			t.Errorf("HEAD: %+v, %v", got, err)
		}
	}
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
}

// A manifest that is asked for as a blob is known by its type, cached as one or not.
func TestTypeOfManifestInHeadOfBlob(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	f.upstream.PutBlobAs(repository, image.Index.Digest, image.IndexBytes)
	f.wantManifest("3", image.IndexBytes)
	got, _, err := f.mirror.StatBlob(t.Context(), blobRequest(image.Index.Digest))
	if err != nil || got.MediaType != image.Index.MediaType || got.Size != int64(len(image.IndexBytes)) {
		t.Errorf("HEAD: %+v, %v", got, err)
	}
	f.mustPull(blobRequest(image.Index.Digest), image.IndexBytes, oci.ResultMiss)
	got, status, err := f.mirror.StatBlob(t.Context(), blobRequest(image.Index.Digest))
	if err != nil || got.MediaType != image.Index.MediaType || status.Result != oci.ResultHit {
		t.Errorf("HEAD: %+v, %v, %v", got, status, err)
	}
}

// While sizes contradict each other, nothing is told before it is proven, and
// nothing to those who believe the wrong one ever.
func TestContradictedSizeIsHeldBack(t *testing.T) { inBothModes(t, testContradictedSizeIsHeldBack) }

func testContradictedSizeIsHeldBack(t *testing.T) {
	t.Parallel()
	const size = 8 * mib
	for _, honest := range []bool{true, false} {
		f := newFixture(t)
		b := registrytest.Random(1, size)
		d := digest.FromBytes(b)
		if !honest {
			b[size-1] ^= 1
		}
		f.upstream.PutBlobAs(repository, d, b)
		f.namedBy(repository, d, size+1)
		reached, open := make(chan struct{}), make(chan struct{})
		f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
		results := make(chan error, 2)
		for range 2 {
			go func() {
				blob, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
				if err == nil {
					err = blob.Content.Close()
				}
				results <- err
			}()
		}
		<-reached
		select {
		case err := <-results:
			t.Errorf("answered before it is proven: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
		close(open)
		for range 2 {
			err := <-results
			if honest && err != nil {
				t.Error(err)
			} else if !honest {
				wantStatus(t, err, http.StatusBadGateway)
				if class(err) != oci.ClassDigest {
					t.Errorf("class %q", class(err))
				}
			}
		}
		if e := f.filled(); e.Stored != honest {
			t.Errorf("event %+v", e)
		}
	}
}

// Who follows the fill of another scope, and was told another size, waits too.
func TestContradictedSizeOfAFollower(t *testing.T) { inBothModes(t, testContradictedSizeOfAFollower) }

func testContradictedSizeOfAFollower(t *testing.T) {
	t.Parallel()
	const other = "team/other"
	f := newFixture(t)
	want := registrytest.Random(1, 8*mib)
	d := f.upstream.PutBlob(repository, want)
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	first, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Content.Close()
	<-reached
	link := oci.Descriptor{Digest: d, Size: 5}
	if err := f.store.Link(t.Context(), oci.Scope{Upstream: upstreamName, Repository: other}, link); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		raw, _, err := f.pull(t.Context(), of(other, blobRequest(d)))
		if err == nil && !bytes.Equal(raw, want) {
			err = errors.New("wrong bytes")
		}
		result <- err
	}()
	select {
	case err := <-result:
		t.Errorf("answered before it is proven: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(open)
	if err := <-result; err != nil {
		t.Error(err)
	}
	f.wantLink(other, d, len(want))
	f.saw(0, 1)
}

// With nowhere to put the bytes, a large blob of uncertain size is an error.
func TestContradictedSizeOnAFullDisk(t *testing.T) { inBothModes(t, testContradictedSizeOnAFullDisk) }

func testContradictedSizeOnAFullDisk(t *testing.T) {
	t.Parallel()
	for size, at := range rooms {
		for _, room := range at {
			f := newFixture(t)
			f.cache.FailParts(room, storage.ErrNoSpace)
			want := registrytest.Random(1, size)
			d := f.upstream.PutBlob(repository, want)
			f.namedBy(repository, d, size+1)
			raw, _, err := f.pull(t.Context(), blobRequest(d))
			if size <= mib && (err != nil || !bytes.Equal(raw, want)) {
				t.Errorf("%d with room for %d: %d wrong bytes, %v", size, room, len(raw), err)
			}
			if size > mib && (class(err) != oci.ClassLength || len(raw) > 0) {
				t.Errorf("%d with room for %d: got %d, %v", size, room, len(raw), err)
			}
			f.filled()
		}
	}
}

// An upstream that tells no size lets the bytes decide, whatever the manifest says.
func TestWrongSizeInManifestAndNoneAnnounced(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * mib} {
		for _, told := range []int{0, size - 1, size + 1} {
			f := newFixture(t)
			want := registrytest.Random(1, size)
			d := f.upstream.PutBlob(repository, want)
			f.namedBy(repository, d, told)
			f.upstream.Reset()
			f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) { next(chunked{w}, r) })
			f.mustPull(blobRequest(d), want, oci.ResultMiss)
			f.filled()
			f.saw(0, 1)
			f.wantLink(repository, d, size)
		}
	}
}

// A manifest that leaves the size out contradicts nobody: the blob comes as it would.
func TestNoSizeInManifest(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 8*mib)
	d := f.upstream.PutBlob(repository, want)
	f.namedBy(repository, d, 0)
	reached, open := make(chan struct{}), make(chan struct{})
	f.upstream.Hook(gated(4*mib, func() { close(reached) }, open))
	b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
	if err != nil || b.Size != int64(len(want)) {
		t.Fatalf("%d bytes, %v", b.Size, err)
	}
	defer b.Content.Close()
	<-reached
	first := make([]byte, mib)
	if _, err := io.ReadFull(b.Content, first); err != nil {
		t.Errorf("nothing comes before the end: %v", err)
	}
	close(open)
	if raw, err := io.ReadAll(b.Content); err != nil || !bytes.Equal(append(first, raw...), want) {
		t.Errorf("%d wrong bytes, %v", len(raw), err)
	}
}

// Where it takes its time, the size of the manifest has to do, whether the upstream says
// nothing until then or only no size: the blob comes with that, or is cut off, and the
// next one who asks gets it.
func TestSizeOfTheManifestHasToDo(t *testing.T) {
	t.Parallel()
	const size = 3 * mib
	for n, told := range []int{size, size, size - 1, size - 1, size + 1, size + 1} {
		f := newFixture(t)
		f.cache.SkipWaits()
		f.cache.TellAfter(10 * time.Millisecond)
		want := registrytest.Random(1, size)
		d := f.upstream.PutBlob(repository, want)
		f.namedBy(repository, d, told)
		answered, reached, open := make(chan struct{}), make(chan struct{}), make(chan struct{})
		half := gated(mib, func() { close(reached) }, open)
		f.upstream.On(registrytest.Rule{Kind: "blobs", Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if n%2 == 0 {
				<-answered
			}
			half(chunked{w}, r, next)
		}})
		b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		close(answered)
		if err != nil || b.Size != int64(told) {
			t.Fatalf("%d bytes, %v", b.Size, err)
		}
		<-reached
		if _, err := io.ReadFull(b.Content, make([]byte, mib)); err != nil {
			t.Errorf("nothing comes before the end: %v", err)
		}
		close(open)
		if raw, err := io.ReadAll(b.Content); (err == nil) != (told == size) || err == nil && !bytes.Equal(raw, want[mib:]) {
			t.Errorf("%d as %d: %d bytes, %v", size, told, len(raw), err)
		}
		_ = b.Content.Close()
		f.filled()
		if told != size {
			f.mustPull(blobRequest(d), want, oci.ResultMiss)
		}
	}
}
