package mirror

import (
	"context"
	"slices"

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
	if !v.images.names(v.scope, d) {
		v.recall(ctx, d)
	}
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

// maxRecalled is how many tags, and how many manifests, are looked at for the image of a
// blob.
const maxRecalled = 256

// recall looks for the image of a blob among those that are stored: none that names it
// was served lately, such as since a restart.
func (v view) recall(ctx context.Context, d digest.Digest) {
	if v.linked(ctx, v.scope, d).Size < 0 {
		return // no manifest of the scope names it
	}
	tags, err := v.store.Tags(ctx, v.scope, "", maxRecalled)
	v.readFailed("list tags", v.scope, "", err)
	left := maxRecalled
	for _, name := range tags {
		if t, ok := v.tag(ctx, name); ok && v.recallFrom(ctx, t.Digest, d, &left) {
			return
		}
	}
}

// recallFrom looks into one manifest, and into those that it lists.
func (v view) recallFrom(ctx context.Context, m, d digest.Digest, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	mf, ok := v.local(ctx, m)
	if !ok {
		return false
	}
	contents, err := oci.ParseManifest(mf.Bytes)
	if err != nil {
		return false
	}
	named := func(b oci.Descriptor) bool { return b.Digest == d }
	if slices.ContainsFunc(contents.Blobs, named) {
		v.images.add(imageKey{v.scope, m}, contents)
		return true
	}
	return slices.ContainsFunc(contents.Manifests, func(child oci.Descriptor) bool { return v.recallFrom(ctx, child.Digest, d, left) })
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
