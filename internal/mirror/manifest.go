package mirror

import (
	"cmp"
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/known"
	"github.com/pullgate/pullgate/internal/oci"
)

func (v view) statManifest(ctx context.Context, ref oci.Reference) (oci.Descriptor, oci.CacheStatus, error) {
	if ref.IsDigest() {
		return manifestQuery{v, ref.Digest}.stat(ctx)
	}
	a, status, err := tagQuery{v, ref.Tag}.resolve(ctx)
	if err != nil {
		return oci.Descriptor{}, status, err
	}
	return oci.Descriptor{MediaType: a.tag.MediaType, Digest: a.tag.Digest, Size: a.tag.Size}, status, nil
}

func (v view) manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, oci.CacheStatus, error) {
	if ref.IsDigest() {
		return manifestQuery{v, ref.Digest}.get(ctx)
	}
	tag := tagQuery{v, ref.Tag}
	a, status, err := tag.resolve(ctx)
	if err != nil {
		return oci.Manifest{}, status, err
	}
	if a.manifest != nil {
		return *a.manifest, status, nil
	}
	mf, step, err := manifestQuery{v, a.tag.Digest}.get(ctx)
	if err != nil && !v.Offline && decidedByTag(err) {
		if tagged, taggedStep, missing := tag.manifest(ctx, a.tag.Digest); missing == nil {
			mf, step, err = *tagged.manifest, taggedStep, nil
		}
	}
	if err != nil {
		return oci.Manifest{}, step, err // how fresh the tag is does not matter then
	}
	return mf, merge(status, step), nil
}

// manifestQuery is what a request asks of one manifest by its digest.
type manifestQuery struct {
	view

	digest digest.Digest
}

func (q manifestQuery) key() key { return q.view.key(kindManifest, q.digest.String()) }

// get returns the manifest.
func (q manifestQuery) get(ctx context.Context) (oci.Manifest, oci.CacheStatus, error) {
	if mf, ok, err := q.current(ctx); ok || err != nil {
		return mf, settled(err), err
	}
	if q.alone {
		status, err := q.unknown(oci.CodeManifestUnknown)
		return oci.Manifest{}, status, err
	}
	a, err := lookUp(ctx, q.view, &q.manifests, question[oci.Manifest]{
		key:  q.key(),
		have: func(ctx context.Context) (oci.Manifest, bool) { return q.local(ctx, q.digest) },
		ask:  q.ask,
	})
	status := a.status(err)
	status.Detail = cmp.Or(status.Detail, a.value.Shared)
	return a.value, status, err
}

// settled is the status of what is stored, or of why it is not the scope's any more.
func settled(err error) oci.CacheStatus {
	if err != nil {
		return failed(true, err)
	}
	return oci.CacheStatus{Result: oci.ResultHit}
}

func answered(led, stored bool) oci.CacheStatus {
	if led {
		return oci.CacheStatus{Result: oci.ResultMiss, Stored: stored}
	}
	return oci.CacheStatus{Result: oci.ResultJoined}
}

// stat downloads nothing, unless HEAD tells too little.
func (q manifestQuery) stat(ctx context.Context) (oci.Descriptor, oci.CacheStatus, error) {
	if mf, ok, err := q.current(ctx); ok || err != nil {
		return mf.Descriptor(), settled(err), err
	}
	if q.Offline || q.hasManifest(ctx, q.digest) {
		mf, status, err := q.get(ctx)
		return mf.Descriptor(), status, err
	}
	k := q.key()
	if desc, ok := q.announced.get(k, q.now()); ok && q.remembered(k, false) == nil {
		return desc, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	a, err := lookUp(ctx, q.view, &q.heads, question[oci.Descriptor]{key: k, ask: q.head})
	return a.value, a.status(err), err
}

// head asks for the descriptor, and keeps the manifest if that comes along.
func (q manifestQuery) head(ctx context.Context) (oci.Descriptor, bool, error) {
	desc, mf, err := q.prove(ctx)
	if err != nil {
		return oci.Descriptor{}, false, err
	}
	if mf != nil {
		q.keep(ctx, mf)
	}
	q.announced.put(q.key(), desc, q.now())
	return desc, false, nil
}

// current returns the manifest if it is stored and the scope's, its proof renewed where
// that is too old.
func (q manifestQuery) current(ctx context.Context) (oci.Manifest, bool, error) {
	link := q.linked(ctx, q.digest)
	mf, ok := q.store.proven(ctx, q.scope, q.digest, link)
	if !ok {
		return mf, false, nil
	}
	if err := prover(q).renew(ctx, &link, prover.askManifest); err != nil {
		return oci.Manifest{}, false, err
	}
	return mf, true, nil
}

// local returns a manifest that is stored and proven to be the scope's.
func (v view) local(ctx context.Context, d digest.Digest) (oci.Manifest, bool) {
	return v.store.proven(ctx, v.scope, d, v.linked(ctx, d))
}

// hasManifest reports whether the bytes are stored, and the upstream has delivered them,
// for whichever scope.
func (v view) hasManifest(ctx context.Context, d digest.Digest) bool {
	if _, err := v.store.Manifest(ctx, d); err != nil {
		return false
	}
	return v.linked(ctx, d).Proven || v.proof(ctx, d) == proofHead
}

// ask gets the manifest from the upstream, or, where the upstream has delivered it to
// another scope, only its word that it belongs to this one too.
func (q manifestQuery) ask(ctx context.Context) (_ oci.Manifest, stored bool, err error) {
	var mf *oci.Manifest
	if known, err := q.store.Manifest(ctx, q.digest); err == nil && q.proof(ctx, q.digest) == proofHead {
		if _, mf, err = q.prove(ctx); err != nil {
			return oci.Manifest{}, false, err
		}
		if mf == nil {
			mf = &known
		}
		stored = q.keep(ctx, mf)
		return *mf, stored, nil
	}
	if mf, err = q.view.get(ctx, oci.Reference{Digest: q.digest}); err == nil {
		stored = q.keep(ctx, mf)
		return *mf, stored, nil
	}
	if tag, ok := q.namedBy.take(q.key()); ok && decidedByTag(err) {
		// The upstream has named it a moment ago: the tag has moved since, or leads
		// to what the digest does not.
		if a, err := (tagQuery{q.view, tag}).manifestQuestion().put(ctx, q.view); err == nil && a.value.manifest.Digest == q.digest {
			return *a.value.manifest, a.stored, nil
		}
	}
	return oci.Manifest{}, false, err
}

// prove has the upstream confirm that the manifest belongs to the scope. It is returned
// if only getting it could tell.
func (q manifestQuery) prove(ctx context.Context) (oci.Descriptor, *oci.Manifest, error) {
	ref := oci.Reference{Digest: q.digest}
	desc, mf, err := q.Remote.Resolve(ctx, q.repository, ref, nil)
	switch {
	case err != nil:
		return oci.Descriptor{}, nil, err
	case mf != nil:
		return desc, mf, check(mf, ref)
	case desc.Digest != q.digest:
		return oci.Descriptor{}, nil, oci.UpstreamError(oci.ClassDigest, "", "the upstream names another digest than was asked for", nil)
	}
	q.said(ctx, desc)
	return desc, nil, nil
}

func check(mf *oci.Manifest, ref oci.Reference) error {
	if !oci.Verify(mf.Digest, mf.Bytes) || ref.IsDigest() && mf.Digest != ref.Digest {
		return oci.UpstreamError(oci.ClassDigest, "", "the upstream sent a manifest that does not match its digest", nil)
	}
	if err := mf.Read(); err != nil {
		return oci.UpstreamError(oci.ClassNotRegistry, "", "the upstream sent a manifest that clients cannot trust", err)
	}
	return nil
}

// keep stores a checked manifest and links it. What it points to is linked too,
// but unproven: it tells sizes, and opens nothing that others brought in. The contents
// have had their use then, and go.
func (v view) keep(ctx context.Context, mf *oci.Manifest) (stored bool) {
	if mf.Read() != nil {
		return false // stored before this was checked: serve, but link nothing
	}
	contents := *mf.Contents
	mf.Contents = nil
	v.images.Add(known.Key{Scope: v.scope, Digest: mf.Digest}, contents)
	// More than are known of an image would be more than the store writes at a time.
	children := slices.Concat(contents.Manifests[:min(len(contents.Manifests), known.MaxBlobs)], contents.Blobs[:min(len(contents.Blobs), known.MaxBlobs)])
	put := v.store.PutOpenManifest
	if v.Isolate {
		put = v.store.PutManifest
	}
	if err := put(ctx, v.scope, *mf, children); err != nil {
		v.store.failed("manifest not stored", err, "scope", v.scope.String(), "digest", mf.Digest)
		return false
	}
	return true
}
