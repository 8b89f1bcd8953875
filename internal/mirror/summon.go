package mirror

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/known"
	"github.com/pullgate/pullgate/internal/oci"
)

// kindImage is a manifest that is asked for again for the sake of its blobs.
const kindImage kind = "image"

// summons is for a blob that the upstream has not: some fetch the blobs of an image, or
// know of them, only once they were asked for its manifest.
type summons struct {
	view

	digest digest.Digest
}

// send asks for the manifest where it was cached here for longer, once for all blobs of
// it, and reports whether the upstream has sent it since the mark.
func (v summons) send(ctx context.Context, mark uint64) bool {
	if !v.images.Names(v.scope, v.digest) {
		v.recall(ctx)
	}
	image, ask := v.images.Missed(v.scope, v.digest, mark, v.now())
	if !ask {
		return false
	}
	defer v.images.Settled(image)
	v.client = "" // whose turn it is anyway
	_, err := v.askAgain(ctx, image, mark)
	return err == nil && v.images.Since(image, mark)
}

// askAgain asks for a manifest that is stored.
func (v summons) askAgain(ctx context.Context, image known.Key, mark uint64) (answer[oci.Manifest], error) {
	return lookUp(ctx, v.view, &v.manifests, question[oci.Manifest]{
		key:  v.key(kindImage, image.Digest.String()),
		have: func(context.Context) (oci.Manifest, bool) { return oci.Manifest{}, v.images.Since(image, mark) },
		ask: func(ctx context.Context) (mf oci.Manifest, stored bool, err error) {
			mf, err = v.Remote.Manifest(ctx, v.repository, oci.Reference{Digest: image.Digest})
			return mf, false, err
		},
		failed: func(_ context.Context, err error) error { return err }, // nobody has asked for it
	})
}

// maxRecalled is how many tags, and how many manifests, are looked at for the image of a
// blob.
const maxRecalled = 256

// recall looks for the image of a blob among those that are stored: none that names it
// was served lately, such as since a restart.
func (v summons) recall(ctx context.Context) {
	if v.linked(ctx, v.digest).Size < 0 {
		return // no manifest of the scope names it
	}
	tags, err := v.store.Tags(ctx, v.scope, "", maxRecalled)
	v.store.readFailed("list tags", v.scope, "", err)
	left := maxRecalled
	for _, name := range tags {
		if t, ok := (tagQuery{v.view, name}).stored(ctx); ok && v.recallFrom(ctx, t.Digest, &left) {
			return
		}
	}
}

// recallFrom looks into one manifest, and into those that it lists.
func (v summons) recallFrom(ctx context.Context, m digest.Digest, left *int) bool {
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
	named := func(b oci.Descriptor) bool { return b.Digest == v.digest }
	if slices.ContainsFunc(contents.Blobs, named) {
		v.images.Add(known.Key{Scope: v.scope, Digest: m}, contents)
		return true
	}
	return slices.ContainsFunc(contents.Manifests, func(child oci.Descriptor) bool { return v.recallFrom(ctx, child.Digest, left) })
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
		w.note(repository, mf)
	}
	return mf, err
}

// Resolve implements Remote.
func (w watched) Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	desc, mf, err := w.Remote.Resolve(ctx, repository, ref, held)
	if err == nil && mf != nil {
		w.note(repository, *mf)
	}
	return desc, mf, err
}

func (w watched) note(repository string, mf oci.Manifest) {
	if mf.Shared == "" {
		w.cache.images.Fetched(known.Key{Scope: oci.Scope{Upstream: w.identity, Repository: repository}, Digest: mf.Digest}, w.cache.now())
	}
}
