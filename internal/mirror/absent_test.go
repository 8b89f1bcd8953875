package mirror_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// A blob whose file is there, and cannot be opened, is filled anew. Where that fails, the
// client hears of it, and nothing goes on after that.
func TestBlobThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 3*mib)
	d := f.upstream.PutBlob(repository, want)
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.filled()
	file := filepath.Join(f.dir, "blobs", "sha256", d.Encoded()[:3], d.Encoded())
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, file); err != nil { // to itself
		t.Fatal(err)
	}
	f.upstream.Reset()
	f.cache.SkipWaits()
	f.upstream.Hook(answer(http.StatusServiceUnavailable))
	if raw, _, err := f.pull(t.Context(), blobRequest(d)); err == nil {
		t.Errorf("%d bytes come of nowhere", len(raw))
	}
	f.filled()
	f.upstream.Hook(nil)
	f.clock.advance(ttl)
	f.upstream.Reset()
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.saw(0, 1)
	if e := f.filled(); !e.Stored {
		t.Errorf("event %+v", e)
	}
	f.mustPull(blobRequest(d), want, oci.ResultHit)
	f.saw(0, 0)
}
