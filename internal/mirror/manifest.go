package mirror

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// manifestAnswer is what a look-up of a manifest by digest ended in.
type manifestAnswer struct {
	manifest oci.Manifest
	// asked is false if the look-up found the answer in the store after all.
	asked  bool
	stored bool
}

func (v view) statManifest(ctx context.Context, ref oci.Reference) (oci.Descriptor, oci.CacheStatus, error) {
	if ref.IsDigest() {
		return v.statManifestByDigest(ctx, ref.Digest)
	}
	a, status, err := v.resolve(ctx, ref.Tag)
	if err != nil {
		return oci.Descriptor{}, status, err
	}
	return oci.Descriptor{MediaType: a.tag.MediaType, Digest: a.tag.Digest, Size: a.tag.Size}, status, nil
}

func (v view) manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, oci.CacheStatus, error) {
	if ref.IsDigest() {
		return v.manifestByDigest(ctx, ref.Digest)
	}
	a, status, err := v.resolve(ctx, ref.Tag)
	if err != nil {
		return oci.Manifest{}, status, err
	}
	if a.manifest != nil {
		return *a.manifest, status, nil
	}
	mf, step, err := v.manifestByDigest(ctx, a.tag.Digest)
	if err != nil && !v.Offline && decidedByTag(err) {
		if tagged, taggedStep, missing := v.byTag(ctx, ref.Tag, a.tag.Digest); missing == nil {
			mf, step, err = *tagged.manifest, taggedStep, nil
		}
	}
	if err != nil {
		return oci.Manifest{}, step, err // how fresh the tag is does not matter then
	}
	return mf, merge(status, step), nil
}

func (v view) manifestByDigest(ctx context.Context, d digest.Digest) (oci.Manifest, oci.CacheStatus, error) {
	if mf, ok, err := v.current(ctx, d); ok || err != nil {
		return mf, settled(err), err
	}
	if v.Offline {
		status, err := v.unknown(oci.CodeManifestUnknown)
		return oci.Manifest{}, status, err
	}
	k := v.key(kindManifest, d.String())
	if e := v.remembered(k, false); e != nil {
		return oci.Manifest{}, negative(), e
	}
	a, led, err := v.manifests.do(ctx, v, k, v.patience(false), func(ctx context.Context) (manifestAnswer, error) {
		return v.lookUpManifest(ctx, d)
	})
	if err != nil {
		return oci.Manifest{}, failed(led, err), err
	}
	return a.manifest, asked(led && a.asked, a.stored), nil
}

// settled is the status of what is stored, or of why it is not the scope's any more.
func settled(err error) oci.CacheStatus {
	if err != nil {
		return failed(true, err)
	}
	return oci.CacheStatus{Result: oci.ResultHit}
}

func asked(led, stored bool) oci.CacheStatus {
	if led {
		return oci.CacheStatus{Result: oci.ResultMiss, Stored: stored}
	}
	return oci.CacheStatus{Result: oci.ResultJoined}
}

// statManifestByDigest downloads nothing, unless HEAD tells too little.
func (v view) statManifestByDigest(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	if mf, ok, err := v.current(ctx, d); ok || err != nil {
		return mf.Descriptor(), settled(err), err
	}
	if v.Offline || v.hasManifest(ctx, d) {
		mf, status, err := v.manifestByDigest(ctx, d)
		return mf.Descriptor(), status, err
	}
	k := v.key(kindManifest, d.String())
	if e := v.remembered(k, false); e != nil {
		return oci.Descriptor{}, negative(), e
	}
	if desc, ok := v.told.get(k, v.now()); ok {
		return desc, oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	desc, led, err := v.heads.do(ctx, v, k, v.patience(false), func(ctx context.Context) (oci.Descriptor, error) {
		desc, mf, err := v.prove(ctx, k, d)
		if mf != nil {
			v.keep(ctx, mf)
		}
		if err == nil {
			v.told.put(k, desc, v.now())
		}
		return desc, err
	})
	if err != nil {
		return oci.Descriptor{}, failed(led, err), err
	}
	return desc, asked(led, false), nil
}

// local returns a manifest that is stored and proven to be the scope's.
func (v view) local(ctx context.Context, d digest.Digest) (oci.Manifest, bool) {
	if !v.linked(ctx, v.scope, d).Proven {
		return oci.Manifest{}, false
	}
	mf, err := v.store.Manifest(ctx, d)
	v.readFailed("read manifest", v.scope, d.String(), err)
	return mf, err == nil
}

// hasManifest reports whether the bytes are stored, and the upstream has delivered them,
// for whichever scope.
func (v view) hasManifest(ctx context.Context, d digest.Digest) bool {
	if _, err := v.store.Manifest(ctx, d); err != nil {
		return false
	}
	return v.linked(ctx, v.scope, d).Proven || v.proof(ctx, d) == proofHead
}

// lookUpManifest gets a manifest from the upstream, or, where the upstream has delivered
// it to another scope, only its word that it belongs to this one too.
func (v view) lookUpManifest(ctx context.Context, d digest.Digest) (manifestAnswer, error) {
	if mf, ok := v.local(ctx, d); ok {
		return manifestAnswer{manifest: mf}, nil
	}
	k := v.key(kindManifest, d.String())
	if e := v.remembered(k, false); e != nil {
		return manifestAnswer{}, e
	}
	if stored, err := v.store.Manifest(ctx, d); err == nil && v.proof(ctx, d) == proofHead {
		_, mf, err := v.prove(ctx, k, d)
		switch {
		case err != nil:
			return manifestAnswer{}, err
		case mf == nil:
			mf = &stored
		}
		stored := v.keep(ctx, mf)
		return manifestAnswer{manifest: *mf, asked: true, stored: stored}, nil
	}
	mf, err := v.get(ctx, oci.Reference{Digest: d})
	if err == nil {
		stored := v.keep(ctx, mf)
		return manifestAnswer{manifest: *mf, asked: true, stored: stored}, nil
	}
	if tag, ok := v.promised.take(k); ok && decidedByTag(err) {
		// The upstream has named it a moment ago: the tag has moved since, or leads
		// to what the digest does not.
		if a, err := v.getByTag(ctx, tag); err == nil && a.manifest.Digest == d {
			return manifestAnswer{manifest: *a.manifest, asked: true, stored: a.stored}, nil
		}
	}
	err = v.asked(ctx, err)
	v.remember(k, err, false)
	return manifestAnswer{}, err
}

// prove has the upstream confirm that a manifest belongs to the scope. The manifest
// is returned if only getting it could tell. k remembers a failure.
func (v view) prove(ctx context.Context, k key, d digest.Digest) (oci.Descriptor, *oci.Manifest, error) {
	ref := oci.Reference{Digest: d}
	desc, mf, err := v.Remote.Resolve(ctx, v.repository, ref)
	switch {
	case err == nil && mf != nil:
		err = check(mf, ref)
	case err == nil && desc.Digest != d:
		err = oci.UpstreamError(oci.ClassDigest, "", "the upstream names another digest than was asked for", nil)
	}
	if err != nil {
		err = v.asked(ctx, err)
		v.remember(k, err, false)
		return oci.Descriptor{}, nil, err
	}
	if mf == nil {
		v.said(ctx, desc)
	}
	return desc, mf, nil
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
	v.images.add(imageKey{v.scope, mf.Digest}, contents)
	// More than are known of an image would be more than the store writes at a time.
	children := slices.Concat(contents.Manifests[:min(len(contents.Manifests), maxImageBlobs)], contents.Blobs[:min(len(contents.Blobs), maxImageBlobs)])
	put := v.store.PutOpenManifest
	if v.Isolate {
		put = v.store.PutManifest
	}
	if err := put(ctx, v.scope, *mf, children); err != nil {
		v.storeFailed("manifest not stored", err, "scope", v.scope.String(), "digest", mf.Digest)
		return false
	}
	return true
}
