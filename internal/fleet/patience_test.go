package fleet_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// deadUpstream refuses connections.
type deadUpstream struct{ mirror.Remote }

func (deadUpstream) error() error {
	return oci.UpstreamError(oci.ClassConnect, "", "no connection", nil)
}

func (u deadUpstream) Blob(context.Context, string, digest.Digest, int64, int64) (oci.BlobBody, error) {
	return oci.BlobBody{}, u.error()
}

func (u deadUpstream) HeadBlob(context.Context, string, digest.Digest) (int64, error) {
	return 0, u.error()
}

func (u deadUpstream) Manifest(context.Context, string, oci.Reference) (oci.Manifest, error) {
	return oci.Manifest{}, u.error()
}

func (u deadUpstream) Resolve(context.Context, string, oci.Reference, func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	return oci.Descriptor{}, nil, u.error()
}

// A bucket that is slow is waited for where nobody else has an answer, again and again,
// and where it is merely slow, nothing is unknown for that.
func TestSlowBucketIsWaitedForWhereNobodyElseAnswers(t *testing.T) {
	for name, inner := range map[string]mirror.Remote{"dead": deadUpstream{}, "offline": nil} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			_, _, f := lone(t, m)
			defer f.Close()
			r := f.Remote(fleet.Upstream{Identity: upstreamName}, inner)
			image := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":100},"layers":[]}`, imageType, oci.Sum(content))
			mf := oci.Sum(image)
			m.put("v1/m/sha256/"+mf.Encoded(), image, 0)
			m.put("v1/l/"+upstreamName+"/"+repository+"/_/sha256-"+mf.Encoded(), nil, 0)
			var blobs []digest.Digest
			for n := range 10 {
				blobs = append(blobs, share(t, m, n))
			}
			m.fail(fault{answer: func(ctx context.Context) error {
				select {
				case <-time.After(time.Second):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}}, fault{})
			for n, d := range append(blobs, blobs[0]) {
				if size, err := r.HeadBlob(t.Context(), repository, d); err != nil || size != int64(len(content)) {
					t.Errorf("%s, size of blob %d: %d, %v", name, n, size, err)
				}
				body, err := r.Blob(t.Context(), repository, d, 0, -1)
				if err != nil {
					t.Errorf("%s, blob %d: %v", name, n, err)
					continue
				}
				if raw, err := io.ReadAll(body); err != nil || string(raw) != string(content) {
					t.Errorf("%s, blob %d: %q, %v", name, n, raw, err)
				}
				_ = body.Close()
			}
			if got, err := r.Manifest(t.Context(), repository, oci.Reference{Digest: mf}); err != nil || got.Digest != mf {
				t.Errorf("%s, manifest: %v, %v", name, got.Digest, err)
			}
			if got, _, err := r.Resolve(t.Context(), repository, oci.Reference{Digest: mf}, nil); err != nil || got.Digest != mf {
				t.Errorf("%s, manifest: %v, %v", name, got, err)
			}
			// What it has not, it is not asked for twice.
			m.fail(fault{}, fault{})
			time.Sleep(time.Minute)
			m.calls.Store(0)
			if _, err := r.Blob(t.Context(), repository, oci.Sum([]byte("other")), 0, -1); err == nil || m.calls.Load() > 2 {
				t.Errorf("%s: another blob: %v, after %d calls of the bucket", name, err, m.calls.Load())
			}
		})
	}
}

// The upstream is asked whether it has a blob beside the owner, and not before it: that costs
// no time.
func TestBlobIsConfirmedBesideItsOwner(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	h := newHerd(t, from, 2, nil, func(u *mirror.Upstream) { u.ProofTTL = time.Hour })
	beside := false
	for try := uint64(0); try < 3 && !beside; try++ { // a machine may be so slow that the question is given up
		d := from.PutRandom(repository, try, 300<<10)
		owner, others := h.owner(d.String())
		if err := owner.verify(d); err != nil {
			t.Fatal(err)
		}
		before, heard := owner.fleet.Peers().Answered, make(chan bool, 10)
		from.On(registrytest.Rule{Method: "HEAD", Kind: "blobs", Reference: d.String(), Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			for owner.fleet.Peers().Answered == before && r.Context().Err() == nil {
				time.Sleep(time.Millisecond)
			}
			heard <- r.Context().Err() == nil
			next(w, r)
		}})
		if _, status, err := others[0].blob(repository, d); err != nil || status.Detail != "peer" {
			t.Errorf("%v, %v", status, err)
		}
		beside = <-heard
	}
	if !beside {
		t.Error("the owner is asked when the upstream has answered")
	}
}
