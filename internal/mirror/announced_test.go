package mirror_test

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestHeadByDigestIsRemembered: who asks again for what nobody has got yet costs the
// upstream nothing, for a while, in that repository; nor does a clock that is set back
// make it longer.
func TestHeadByDigestIsRemembered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 100)
	r := manifestRequest(image.Index.Digest.String())
	stat := func(result oci.Result, heads int) {
		t.Helper()
		d, status, err := f.mirror.StatManifest(t.Context(), r)
		if err != nil || d.Digest != image.Index.Digest || d.Size != image.Index.Size || d.MediaType != image.Index.MediaType {
			t.Errorf("%+v: %v", d, err)
		}
		if status.Result != result {
			t.Errorf("result %q, want %q", status.Result, result)
		}
		f.saw(heads, 0)
	}
	stat(oci.ResultMiss, 1)
	for range 5 {
		stat(oci.ResultHit, 0)
	}
	f.clock.advance(29 * time.Second)
	stat(oci.ResultHit, 0)
	f.clock.advance(time.Second)
	stat(oci.ResultMiss, 1)
	f.clock.advance(-24 * time.Hour)
	stat(oci.ResultMiss, 1)

	other := r
	other.Repository, other.Name = "library/other", "library/other"
	if _, _, err := f.mirror.StatManifest(t.Context(), other); !oci.IsNotFound(err) {
		t.Errorf("another repository gets what it does not have: %v", err)
	}
	f.saw(1, 0)
	f.upstream.Hook(registrytest.Abort)
	stat(oci.ResultHit, 0)
}

// TestRateLimitOverAClockSetBack: a pause of 30 s stays one of 30 s at most.
func TestRateLimitOverAClockSetBack(t *testing.T) {
	t.Parallel()
	for _, back := range []time.Duration{time.Minute, time.Hour, 24 * time.Hour} {
		f := newFixture(t)
		image := f.upstream.PutImage(repository, "3", 1, 100)
		f.upstream.Hook(answer(429))
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		wantStatus(t, err, 429)
		f.upstream.Hook(nil)
		f.upstream.Reset()
		_, _, err = f.mirror.Manifest(t.Context(), manifestRequest("3"))
		wantStatus(t, err, 429)
		f.saw(0, 0)
		f.clock.advance(time.Minute - back)
		m, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if back > time.Minute && (err != nil || m.Digest != image.Index.Digest) {
			t.Errorf("the clock set back by %v: %v", back, err)
		}
	}
}
