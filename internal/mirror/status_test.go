package mirror_test

import (
	"net/http"
	"testing"
)

// An error tells why, and nothing of the tag that was found on the way to it.
func TestStatusOfAnErrorAfterAGoodHead(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		http.StatusInternalServerError: "pullgate; fwd=miss; fwd-status=500; detail=status",
		http.StatusNotFound:            "pullgate; fwd=miss; fwd-status=404",
	} {
		f := newFixture(t)
		f.upstream.PutImage(repository, "3", 1, 10)
		f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Method == http.MethodGet {
				answer(status)(w, r, next)
				return
			}
			next(w, r)
		})
		_, got, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		if err == nil || got.String() != want || got.Fresh != nil {
			t.Errorf("%d: %q, fresh %v, %v; want %q", status, got, got.Fresh, err, want)
		}
	}
}

// What passes through is never said to be stored.
func TestStatusOfWhatIsNotStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 1000, 3*mib)
	if err := f.store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, status, err := f.mirror.Referrers(t.Context(), manifestRequest(image.Index.Digest.String())); err != nil || status.Stored {
		t.Errorf("referrers: %q, %v", status, err)
	}
	for _, layer := range image.Platforms[0].Layers {
		if _, status, err := f.pull(t.Context(), blobRequest(layer.Digest)); err != nil || status.Stored {
			t.Errorf("blob: %q, %v", status, err)
		}
	}
}
