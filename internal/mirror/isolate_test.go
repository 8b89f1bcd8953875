package mirror_test

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// traces are what tells another upstream, and those who may use it, what is here.
func (f *fixture) traces(s *registrytest.Server, image registrytest.Image) (all []string) {
	f.t.Helper()
	p := image.Platforms[0]
	note := func(status oci.CacheStatus, err error) {
		if err != nil {
			f.t.Error(err)
		}
		all = append(all, status.String())
		all = append(all, methods(s)...)
	}
	for _, ref := range []string{"3", image.Index.Digest.String(), p.Manifest.Digest.String()} {
		_, status, err := f.mirror.StatManifest(f.t.Context(), beside(manifestRequest(ref)))
		note(status, err)
		_, status, err = f.mirror.Manifest(f.t.Context(), beside(manifestRequest(ref)))
		note(status, err)
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		_, status, err := f.mirror.StatBlob(f.t.Context(), beside(blobRequest(d.Digest)))
		note(status, err)
		raw, status, err := f.pull(f.t.Context(), beside(blobRequest(d.Digest)))
		if digest.FromBytes(raw) != d.Digest {
			f.t.Errorf("%d wrong bytes", len(raw))
		}
		f.filled()
		note(status, err)
	}
	return all
}

// Bytes of an isolated upstream leave no trace for others.
func TestIsolatedBytesLeaveNoTrace(t *testing.T) { inBothModes(t, testIsolatedBytesLeaveNoTrace) }

func testIsolatedBytesLeaveNoTrace(t *testing.T) {
	t.Parallel()
	for _, ahead := range []int{0, 2} {
		var told [2][]string
		for n := range told {
			f := newFixture(t)
			f.policy.Isolate = true
			s := f.beside()
			f.more[0].LookAhead = ahead
			f.configure()
			image := f.upstream.PutImage(repository, "3", 1, 1000, mib, 3*mib)
			s.PutImage(repository, "3", 1, 1000, mib, 3*mib)
			if n == 1 {
				f.pullImage(repository, image)
				for range 4 {
					f.filled()
				}
			}
			if ahead == 0 {
				told[n] = f.traces(s, image)
				continue
			}
			p := image.Platforms[0]
			for _, ref := range []string{"3", p.Manifest.Digest.String()} {
				if _, _, err := f.mirror.Manifest(t.Context(), beside(manifestRequest(ref))); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := f.pull(t.Context(), beside(blobRequest(p.Layers[0].Digest))); err != nil {
				t.Fatal(err)
			}
			for range 4 {
				f.filled()
			}
			told[n] = methods(s)
			slices.Sort(told[n])
		}
		if !slices.Equal(told[0], told[1]) {
			t.Errorf("on an empty cache:\n%q, beside what is isolated:\n%q", told[0], told[1])
		}
	}
}

// What an upstream that is not isolated has delivered too can be proven.
func TestOpenBytesAreNotIsolated(t *testing.T) { inBothModes(t, testOpenBytesAreNotIsolated) }

func testOpenBytesAreNotIsolated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.policy.Isolate = true
	s := f.beside()
	raw := registrytest.Random(1, 3*mib)
	d := f.upstream.PutBlob(repository, raw)
	f.upstream.PutBlob("team/copy", raw)
	s.PutBlob(repository, raw)
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
	f.mustPull(beside(blobRequest(d)), raw, oci.ResultMiss)
	if got := methods(s); !slices.Equal(got, []string{"GET"}) {
		t.Errorf("isolated: %v", got)
	}
	third := of("team/copy", blobRequest(d))
	third.Upstream = "ghcr.io"
	f.upstream.Reset()
	f.mustPull(third, raw, oci.ResultMiss)
	f.saw(0, 4)
}

// A proof ends with what the upstream says once it is old, but not with its silence.
func TestProofIsRenewed(t *testing.T) {
	t.Parallel()
	const long = 30 * 24 * time.Hour
	f := newFixture(t)
	f.policy.ProofTTL = long
	f.configure()
	raw := registrytest.Random(1, 2*mib)
	d := f.upstream.PutBlob(repository, raw)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	m := manifestRequest(image.Index.Digest.String())
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
	f.filled()
	wantManifest := func(status int) {
		t.Helper()
		for range 2 {
			if _, _, err := f.mirror.Manifest(t.Context(), m); status == 0 && err != nil {
				t.Error(err)
			} else if status != 0 {
				wantStatus(t, err, status)
			}
		}
	}
	wantManifest(0)
	f.saw(0, 2)
	f.clock.advance(long - time.Second)
	f.mustPull(blobRequest(d), raw, oci.ResultHit)
	wantManifest(0)
	f.saw(0, 0)
	f.clock.advance(time.Second)
	for range 2 {
		f.mustPull(blobRequest(d), raw, oci.ResultHit)
	}
	wantManifest(0)
	f.saw(2, 0)
	f.clock.advance(long)
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	for range 2 {
		f.mustPull(blobRequest(d), raw, oci.ResultHit)
	}
	wantManifest(0)
	f.saw(2, 0)
	f.clock.advance(rememberProof)
	f.upstream.Hook(answer(http.StatusForbidden))
	_, _, err := f.mirror.StatBlob(t.Context(), blobRequest(d))
	wantStatus(t, err, http.StatusForbidden)
	f.policy.Offline = true
	f.configure()
	_, _, err = f.mirror.Blob(t.Context(), blobRequest(d))
	wantStatus(t, err, http.StatusNotFound)
	f.policy.Offline = false
	f.configure()
	f.upstream.Hook(answer(http.StatusNotFound))
	wantManifest(http.StatusNotFound)
	f.clock.advance(ttl)
	f.saw(2, 0)
	wantManifest(http.StatusNotFound)
	f.upstream.Hook(nil)
	f.clock.advance(ttl)
	wantManifest(0)
	f.upstream.Reset()
	f.mustPull(blobRequest(d), raw, oci.ResultMiss)
	f.saw(1, 0)
	f.reopen()
	f.mustPull(blobRequest(d), raw, oci.ResultHit)
	f.saw(0, 0)
}

// rememberProof is how long an upstream that gives no answer is not asked again.
const rememberProof = time.Minute
