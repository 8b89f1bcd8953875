package mirror

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// kindImage is a manifest that is asked for again for the sake of its blobs.
const kindImage kind = "image"

// askForImage is for a blob that the upstream has not: some fetch the blobs of an
// image, or know of them, only once they were asked for its manifest. It asks for that
// where it was cached here for longer, once for all blobs of it, and reports whether
// the upstream has sent it since the mark.
func (v view) askForImage(ctx context.Context, d digest.Digest, mark uint64) bool {
	image, ask := v.images.missed(v.scope, d, mark, v.now())
	if !ask {
		return false
	}
	defer v.images.settled(image)
	v.client = "" // whose turn it is anyway
	k := v.key(kindImage, image.digest.String())
	_, _, err := v.manifests.do(ctx, v, k, v.patience(false), func(ctx context.Context) (manifestAnswer, error) {
		if v.images.since(image, mark) {
			return manifestAnswer{}, nil
		}
		_, err := v.Remote.Manifest(ctx, v.repository, oci.Reference{Digest: image.digest})
		return manifestAnswer{}, err
	})
	return err == nil && v.images.since(image, mark)
}

// watched is a Remote whose manifests are noted as they come.
type watched struct {
	Remote

	cache    *Cache
	identity string
}

// Manifest implements Remote.
func (w watched) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	mf, err := w.Remote.Manifest(ctx, repository, ref)
	if err == nil {
		w.cache.images.fetched(imageKey{oci.Scope{Upstream: w.identity, Repository: repository}, mf.Digest}, w.cache.now())
	}
	return mf, err
}
