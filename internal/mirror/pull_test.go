package mirror_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// Pull returns once the blob lies in the store, and asks for it once.
func TestPull(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, size := range []int{10, 5 << 20} {
		raw := registrytest.Random(uint64(size), size)
		d := f.upstream.PutBlob(repository, raw)
		var covered, of int64
		desc, status, err := f.mirror.Pull(t.Context(), blobRequest(d), func(c, s int64) { covered, of = c, s })
		if err != nil || desc.Size != int64(size) || status.Result != oci.ResultMiss {
			t.Fatalf("pulled %+v, %+v, %v", desc, status, err)
		}
		if covered != of || of != int64(size) && size > 1<<20 {
			t.Errorf("last progress is %d of %d", covered, of)
		}
		if trusted, err := f.store.HasBlob(t.Context(), d); !trusted || err != nil {
			t.Errorf("blob is trusted: %v, %v", trusted, err)
		}
		n := f.upstream.Count("", "")
		if _, status, err = f.mirror.Pull(t.Context(), blobRequest(d), nil); err != nil || status.Result != oci.ResultHit {
			t.Errorf("pulled again: %+v, %v", status, err)
		}
		f.mustPull(blobRequest(d), raw, oci.ResultHit)
		if got := f.upstream.Count("", ""); got != n {
			t.Errorf("%d requests too many", got-n)
		}
	}
	if _, _, err := f.mirror.Pull(t.Context(), blobRequest(oci.Sum(nil)), nil); !oci.IsNotFound(err) {
		t.Errorf("error is %v", err)
	}
}

// A blob that can be served but not stored is an error.
func TestPullOfWhatTheStoreRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.store.SetLimits(storage.Limits{MaxSize: 1 << 20})
	d := f.upstream.PutBlob(repository, registrytest.Random(1, 3<<20))
	_, _, err := f.mirror.Pull(t.Context(), blobRequest(d), nil)
	if !errors.Is(err, storage.ErrNoSpace) || !strings.Contains(err.Error(), "the storage does not take it") {
		t.Errorf("error is %v", err)
	}
}

// Who leaves ends nothing.
func TestPullGoesOnAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	d := f.upstream.PutBlob(repository, registrytest.Random(1, 3<<20))
	asked := make(chan struct{})
	let, open := registrytest.Hold(t)
	f.upstream.On(registrytest.Rule{Method: http.MethodGet, Kind: "blobs", Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		close(asked)
		<-let
		next(w, r)
	}})
	ctx, leave := context.WithCancel(t.Context())
	go func() {
		<-asked
		leave()
	}()
	if _, _, err := f.mirror.Pull(ctx, blobRequest(d), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	open()
	if e := f.filled(); !e.Stored {
		t.Errorf("fill ended in %+v", e)
	}
}
