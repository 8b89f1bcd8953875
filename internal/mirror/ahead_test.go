package mirror_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// putManifest makes an image of such blobs, and has a client get its manifest.
func (f *fixture) putManifest(config ocispec.Descriptor, layers ...ocispec.Descriptor) {
	f.t.Helper()
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: layers}
	m.SchemaVersion = 2
	raw, err := json.Marshal(m)
	if err != nil {
		f.t.Fatal(err)
	}
	d := f.upstream.PutManifest(repository, "", m.MediaType, raw)
	if _, _, err := f.mirror.Manifest(f.t.Context(), manifestRequest(d.String())); err != nil {
		f.t.Fatal(err)
	}
	f.upstream.Reset()
}

// putBlob makes a blob that the upstream has.
func (f *fixture) putBlob(seed uint64, size int) ocispec.Descriptor {
	d := f.upstream.PutBlob(repository, registrytest.Random(seed, size))
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: int64(size)}
}

// quiet asserts that n GETs of blobs is all that comes.
func (f *fixture) quiet(n int) {
	f.t.Helper()
	for len(f.upstream.Requests()) < n || f.cache.Stats().Fills > 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if got := f.upstream.Count(http.MethodGet, "blobs"); got != n {
		f.t.Errorf("%d GETs of blobs, want %d", got, n)
	}
	f.upstream.Reset()
}

// A layer as a whole has the others pulled; a config, a range or a HEAD has not.
func TestWhatLooksAhead(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	config, a, b, c := f.putBlob(1, 300), f.putBlob(2, 3*mib), f.putBlob(3, 1000), f.putBlob(4, 2*mib)
	f.putManifest(config, a, b, c)
	get := func(d ocispec.Descriptor, ranged bool) {
		t.Helper()
		r := blobRequest(d.Digest)
		r.Ranged = ranged
		if raw, _, err := f.pull(t.Context(), r); err != nil || oci.Sum(raw) != d.Digest {
			t.Fatalf("%d bytes, %v", len(raw), err)
		}
	}
	get(config, false)
	f.quiet(1)
	get(a, true)
	f.quiet(1)
	if _, _, err := f.mirror.StatBlob(t.Context(), blobRequest(b.Digest)); err != nil {
		t.Fatal(err)
	}
	f.saw(1, 0)
	get(b, false)
	f.quiet(2) // with c
	get(c, false)
	f.quiet(0)
}

// Who joins the fill that a range has begun, and wants it as a whole, has the others
// pulled.
func TestWholeGetJoinsARange(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	a, b := f.putBlob(2, 3*mib), f.putBlob(3, 1000)
	f.putManifest(f.putBlob(1, 300), a, b)
	reached, open := make(chan struct{}, 9), make(chan struct{})
	f.upstream.Hook(gated(mib, func() { reached <- struct{}{} }, open))
	r := blobRequest(a.Digest)
	r.Ranged = true
	first, _, err := f.mirror.Blob(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	<-reached
	second, _, err := f.mirror.Blob(t.Context(), blobRequest(a.Digest))
	if err != nil {
		t.Fatal(err)
	}
	for f.upstream.Count(http.MethodGet, "blobs") < 3 {
		time.Sleep(time.Millisecond)
	}
	close(open)
	_, _ = first.Content.Close(), second.Content.Close()
	f.quiet(3)
}

// Nothing is pulled ahead before the upstream has answered for the layer itself.
func TestLookAheadWaitsForTheLayer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	f.cache.TellAfter(0)
	a, b := f.putBlob(2, 3*mib), f.putBlob(3, 1000)
	f.putManifest(f.putBlob(1, 300), a, b)
	open := make(chan struct{})
	f.upstream.Hook(late(open))
	first, _, err := f.mirror.Blob(t.Context(), blobRequest(a.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer first.Content.Close()
	eventually(t, "the layer is asked for", func() bool { return f.upstream.Count(http.MethodGet, "blobs") > 0 })
	time.Sleep(50 * time.Millisecond)
	f.saw(0, 1)
	close(open)
	f.quiet(2)
}

// An image of layers that nobody has costs three requests, and no more for a while.
func TestLookAheadStops(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	there, other := f.putBlob(1, 2*mib), f.putBlob(2, 2*mib)
	layers := []ocispec.Descriptor{there}
	for i := range 3000 {
		layers = append(layers, ocispec.Descriptor{Digest: oci.Sum(fmt.Append(nil, i)), Size: 1000})
	}
	f.putManifest(f.putBlob(3, 300), append(layers, other)...)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) && r.Method == http.MethodGet {
			time.Sleep(10 * time.Millisecond) // so that more could be under way
		}
		next(w, r)
	})
	if _, _, err := f.pull(t.Context(), blobRequest(layers[1].Digest)); err == nil {
		t.Error("no error")
	}
	f.quiet(1)
	if _, _, err := f.pull(t.Context(), blobRequest(there.Digest)); err != nil {
		t.Error(err)
	}
	eventually(t, "three are asked for ahead", func() bool { return f.upstream.Count(http.MethodGet, "blobs") >= 4 })
	f.idle()
	if n := f.upstream.Count(http.MethodGet, "blobs"); n > 4 {
		t.Errorf("%d GETs", n)
	}
	f.upstream.Reset()
	if _, _, err := f.pull(t.Context(), blobRequest(other.Digest)); err != nil {
		t.Error(err)
	}
	f.quiet(1)
}

// No more than so many bytes of an image are pulled ahead, whatever its manifest tells
// of them.
func TestLookAheadSize(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead, f.policy.LookAheadSize = 1, 3*mib
	f.configure()
	a, large, lied, small, last := f.putBlob(1, 100_000), f.putBlob(2, 4*mib), f.putBlob(3, 4*mib), f.putBlob(4, 2*mib), f.putBlob(5, 2*mib)
	lied.Size = 10
	f.putManifest(f.putBlob(6, 300), a, large, lied, small, last)
	if _, _, err := f.pull(t.Context(), blobRequest(a.Digest)); err != nil {
		t.Fatal(err)
	}
	f.quiet(4) // a, the config, what lies, and what is small
	for _, d := range []ocispec.Descriptor{large, lied, last} {
		if _, err := f.store.HasBlob(t.Context(), d.Digest); err == nil {
			t.Errorf("a blob of %d bytes is there", d.Size)
		}
	}
	if _, err := f.store.HasBlob(t.Context(), small.Digest); err != nil {
		t.Error(err)
	}
	// Who asks for it gets it.
	if raw, _, err := f.pull(t.Context(), blobRequest(lied.Digest)); err != nil || len(raw) != 4*mib {
		t.Errorf("%d bytes, %v", len(raw), err)
	}
}

// What a client sets off is charged to it: looking ahead takes half of its turns at the
// most, and none of what another client has.
func TestLookAheadTakesTurns(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead, f.policy.MissesPerClient = 6, 6
	f.configure()
	var layers []ocispec.Descriptor
	for seed := range uint64(8) {
		layers = append(layers, f.putBlob(seed+1, 3*mib))
	}
	f.putManifest(f.putBlob(9, 300), layers...)
	open := make(chan struct{})
	stall := gated(mib, func() {}, open)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if strings.HasSuffix(r.URL.Path, layers[0].Digest.String()) { // the one that is asked for
			next(w, r)
			return
		}
		stall(w, r, next)
	})
	if raw, _, err := f.pull(t.Context(), from("anna", blobRequest(layers[0].Digest))); err != nil || len(raw) != 3*mib {
		t.Fatalf("%d bytes, %v", len(raw), err)
	}
	begun := func() int { return f.upstream.Count(http.MethodGet, "blobs") - 1 }
	eventually(t, "looking ahead", func() bool { return begun() > 0 })
	time.Sleep(100 * time.Millisecond)
	if n := begun(); n > 3 {
		t.Errorf("%d fills of what was not asked for, of 6 turns", n)
	}
	close(open)
}
