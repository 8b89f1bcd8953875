package forest

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Whatever manifests lead to is found, though they lead in circles, and each is read once.
func TestWalk(t *testing.T) {
	t.Parallel()
	of := func(names ...string) (all []oci.Descriptor) {
		for _, name := range names {
			all = append(all, oci.Descriptor{Digest: digest.Digest(name)})
		}
		return all
	}
	leads := map[digest.Digest]oci.Contents{
		"index": {Manifests: of("amd64", "arm64", "nowhere")},
		"amd64": {Blobs: of("config", "layer")},
		"arm64": {Blobs: of("layer"), Manifests: of("index")},
	}
	var reads atomic.Int64
	f := Forest{Read: func(_ context.Context, d digest.Digest) (oci.Contents, error) {
		reads.Add(1)
		return leads[d], nil
	}}
	for range 2 {
		all, err := f.Walk(t.Context(), map[digest.Digest]bool{"index": true})
		want := []digest.Digest{"amd64", "arm64", "config", "index", "layer", "nowhere"}
		if got := slices.Sorted(maps.Keys(all)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	if n := reads.Load(); n != 4 {
		t.Errorf("%d reads, want 4", n)
	}
	broken := errors.New("broken")
	f = Forest{Read: func(context.Context, digest.Digest) (none oci.Contents, err error) { return none, broken }}
	if _, err := f.Walk(t.Context(), map[digest.Digest]bool{"index": true}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
