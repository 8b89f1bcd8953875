package mirror_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// onDemand is an upstream that knows the blobs of a manifest once it was asked for
// that, as caches of other registries do.
type onDemand struct {
	mu    sync.Mutex
	known bool
}

func (o *onDemand) set(known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.known = known
}

func (o *onDemand) hook(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	if strings.Contains(r.URL.Path, "/manifests/") && r.Method == http.MethodGet {
		o.set(true)
	}
	o.mu.Lock()
	known := o.known
	o.mu.Unlock()
	if strings.Contains(r.URL.Path, "/blobs/") && !known {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	next(w, r)
}

// The manifest is cached here, and the upstream has forgotten it, or has never been
// asked for it in this repository's name: it is asked for that again, once for all
// blobs, and then for the blobs.
func TestBlobsOnDemand(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.LookAhead = 6
	f.configure()
	image := f.upstream.PutImage(repository, "3", 1, 2*mib, 1000, 3*mib).Platforms[0]
	get := func() {
		t.Helper()
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String())); err != nil {
			t.Fatal(err)
		}
	}
	get()
	f.reopen()
	get() // from the store
	f.upstream.Reset()
	var o onDemand
	f.upstream.Hook(o.hook)
	var pulls sync.WaitGroup
	for _, b := range append(image.Layers, image.Config) {
		pulls.Go(func() {
			if raw, _, err := f.pull(t.Context(), blobRequest(b.Digest)); err != nil || oci.Sum(raw) != b.Digest {
				t.Errorf("%d bytes of %d, %v", len(raw), b.Size, err)
			}
		})
	}
	pulls.Wait()
	if n := f.upstream.Count(http.MethodGet, "manifests"); n != 1 {
		t.Errorf("%d GETs of manifests", n)
	}
	if n := f.upstream.Count(http.MethodGet, "blobs"); n > 8 {
		t.Errorf("%d GETs of blobs: %v", n, f.upstream.Requests())
	}
}

// After a restart nobody has served the image yet: it is found by its tag, whatever lies
// between.
func TestBlobsOnDemandAfterARestart(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 2*mib, 1000)
	p := image.Platforms[1]
	for _, ref := range []string{"3", p.Manifest.Digest.String()} {
		if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(ref)); err != nil {
			t.Fatal(err)
		}
	}
	f.reopen()
	f.upstream.Reset()
	var o onDemand
	f.upstream.Hook(o.hook)
	for _, b := range append(p.Layers, p.Config) {
		if raw, _, err := f.pull(t.Context(), blobRequest(b.Digest)); err != nil || oci.Sum(raw) != b.Digest {
			t.Errorf("%d bytes of %d, %v", len(raw), b.Size, err)
		}
	}
	if n := f.upstream.Count(http.MethodGet, "manifests"); n != 1 {
		t.Errorf("%d GETs of manifests", n)
	}
	// A blob that no manifest names is not looked for.
	_, _, err := f.mirror.Blob(t.Context(), blobRequest(oci.Sum([]byte("x"))))
	wantStatus(t, err, http.StatusNotFound)
}

// The same for a HEAD, and for bytes that another repository has brought in.
func TestHeadOfABlobOnDemand(t *testing.T) {
	t.Parallel()
	const other = "team/other"
	for _, shared := range []bool{false, true} {
		f := newFixture(t)
		f.policy.MissesPerClient = 1
		f.configure()
		layer := f.putBlob(1, 2*mib)
		f.upstream.PutBlob(other, registrytest.Random(1, 2*mib))
		f.putManifest(f.putBlob(2, 300), layer)
		if shared {
			f.mustPull(of(other, blobRequest(layer.Digest)), registrytest.Random(1, 2*mib), oci.ResultMiss)
			f.filled()
		}
		f.clock.advance(time.Minute)
		f.upstream.Reset()
		var o onDemand
		f.upstream.Hook(o.hook)
		r := blobRequest(layer.Digest)
		r.Client = "somebody"
		if d, _, err := f.mirror.StatBlob(t.Context(), r); err != nil || d.Size != 2*mib {
			t.Errorf("HEAD: %+v, %v", d, err)
		}
		f.saw(2, 1)
		if raw, _, err := f.pull(t.Context(), r); err != nil || len(raw) != 2*mib {
			t.Errorf("GET: %d bytes, %v", len(raw), err)
		}
		gets := 1
		if shared {
			gets = 0
		}
		f.saw(0, gets)
	}
}

// What is not there is not there: one pair of requests more in a minute for each
// manifest, and none where it was fetched just now.
func TestMissingBlobOfAnImage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 2*mib, 1000, 3*mib).Platforms[0]
	if _, _, err := f.mirror.Manifest(t.Context(), manifestRequest(image.Manifest.Digest.String())); err != nil {
		t.Fatal(err)
	}
	f.upstream.Reset()
	f.upstream.On(registrytest.Rule{Kind: "blobs", Hook: registrytest.Answer(http.StatusNotFound, nil, "")})
	miss := func(layer, manifests, blobs int) {
		t.Helper()
		_, _, err := f.pull(t.Context(), blobRequest(image.Layers[layer].Digest))
		wantStatus(t, err, http.StatusNotFound)
		if m, b := f.upstream.Count(http.MethodGet, "manifests"), f.upstream.Count(http.MethodGet, "blobs"); m != manifests || b != blobs {
			t.Errorf("%d GETs of manifests and %d of blobs, want %d and %d", m, b, manifests, blobs)
		}
		f.upstream.Reset()
	}
	miss(0, 0, 1) // fetched just now
	f.clock.advance(time.Minute)
	miss(0, 1, 2)
	miss(1, 0, 1)
	f.clock.advance(30 * time.Second)
	miss(2, 0, 1)
	f.clock.advance(40 * time.Second)
	miss(2, 1, 2)
	// No client has got a manifest that names this one.
	_, _, err := f.pull(t.Context(), blobRequest(oci.Sum([]byte("x"))))
	wantStatus(t, err, http.StatusNotFound)
	f.saw(0, 1)
}
