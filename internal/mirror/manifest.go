package mirror

import (
	"context"
	"fmt"
	"net/http"

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
		return oci.Descriptor{}, status, fmt.Errorf("resolve %s:%s: %w", v.scope, ref.Tag, err)
	}
	return oci.Descriptor{MediaType: a.tag.MediaType, Digest: a.tag.Digest, Size: a.tag.Size}, status, nil
}

func (v view) manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, oci.CacheStatus, error) {
	if ref.IsDigest() {
		return v.manifestByDigest(ctx, ref.Digest)
	}
	a, status, err := v.resolve(ctx, ref.Tag)
	if err != nil {
		return oci.Manifest{}, status, fmt.Errorf("resolve %s:%s: %w", v.scope, ref.Tag, err)
	}
	if a.manifest != nil {
		return *a.manifest, status, nil
	}
	mf, step, err := v.manifestByDigest(ctx, a.tag.Digest)
	if err != nil {
		return oci.Manifest{}, step, err // how fresh the tag is does not matter then
	}
	return mf, merge(status, step), nil
}

func (v view) manifestByDigest(ctx context.Context, d digest.Digest) (oci.Manifest, oci.CacheStatus, error) {
	if mf, ok := v.local(d); ok {
		return mf, oci.CacheStatus{Result: oci.ResultHit}, nil
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
		return oci.Manifest{}, failed(led, err), fmt.Errorf("get manifest %s@%s: %w", v.scope, d, err)
	}
	return a.manifest, asked(led && a.asked, a.stored), nil
}

func asked(led, stored bool) oci.CacheStatus {
	if led {
		return oci.CacheStatus{Result: oci.ResultMiss, Stored: stored}
	}
	return oci.CacheStatus{Result: oci.ResultJoined}
}

// statManifestByDigest downloads nothing, but where a HEAD tells too little.
func (v view) statManifestByDigest(ctx context.Context, d digest.Digest) (oci.Descriptor, oci.CacheStatus, error) {
	if mf, ok := v.local(d); ok {
		return mf.Descriptor(), oci.CacheStatus{Result: oci.ResultHit}, nil
	}
	if !v.Offline && !v.hasManifest(d) {
		k := v.key(kindHead, d.String())
		if e := v.remembered(k, false); e != nil {
			return oci.Descriptor{}, negative(), e
		}
		desc, led, err := v.heads.do(ctx, v, k, v.patience(false), func(ctx context.Context) (oci.Descriptor, error) {
			return v.headManifest(ctx, k, oci.Reference{Digest: d})
		})
		switch {
		case err != nil:
			return oci.Descriptor{}, failed(led, err), fmt.Errorf("head manifest %s@%s: %w", v.scope, d, err)
		case complete(desc):
			return desc, asked(led, false), nil
		}
	}
	mf, status, err := v.manifestByDigest(ctx, d)
	return mf.Descriptor(), status, err
}

// local returns a manifest that is stored and proven to be the scope's.
func (v view) local(d digest.Digest) (oci.Manifest, bool) {
	if !v.linked(v.scope, d).Proven {
		return oci.Manifest{}, false
	}
	mf, err := v.store.Manifest(d)
	v.readFailed("read manifest", v.scope, d.String(), err)
	return mf, err == nil
}

// hasManifest reports whether the bytes are stored, for any scope.
func (v view) hasManifest(d digest.Digest) bool {
	_, err := v.store.Manifest(d)
	return err == nil
}

// lookUpManifest gets a manifest from the upstream, or, where another scope has
// it stored, only the upstream's word that it belongs to this one too.
func (v view) lookUpManifest(ctx context.Context, d digest.Digest) (manifestAnswer, error) {
	if mf, ok := v.local(d); ok {
		return manifestAnswer{manifest: mf}, nil
	}
	k := v.key(kindManifest, d.String())
	if e := v.remembered(k, false); e != nil {
		return manifestAnswer{}, e
	}
	if mf, err := v.store.Manifest(d); err == nil {
		desc, err := v.headManifest(ctx, k, oci.Reference{Digest: d})
		if err != nil {
			return manifestAnswer{}, err
		}
		if desc.Digest == d {
			v.keep(mf)
			return manifestAnswer{manifest: mf, asked: true}, nil
		}
	}
	mf, err := v.getManifest(ctx, k, oci.Reference{Digest: d}, false)
	if err != nil {
		return manifestAnswer{}, err
	}
	return manifestAnswer{manifest: mf, asked: true, stored: v.keep(mf)}, nil
}

// headManifest asks the upstream for a descriptor, and links it where that is
// complete. One that is not means: get the manifest instead. k remembers a
// failure.
func (v view) headManifest(ctx context.Context, k key, ref oci.Reference) (oci.Descriptor, error) {
	desc, err := v.Remote.HeadManifest(ctx, v.repository, ref)
	if headUnsupported(err) {
		return oci.Descriptor{}, nil
	}
	if err == nil && ref.IsDigest() && desc.Digest != "" && desc.Digest != ref.Digest {
		err = oci.UpstreamError(oci.ClassDigest, "", "the upstream names another digest than was asked for", nil)
	}
	if err != nil {
		err = v.asked(ctx, err)
		v.remember(k, err, false)
		return oci.Descriptor{}, err
	}
	if complete(desc) {
		v.link(v.scope, desc)
	}
	return desc, nil
}

// headUnsupported reports whether a registry does not do HEAD.
func headUnsupported(err error) bool {
	if oci.ClassOf(err) != oci.ClassStatus {
		return false
	}
	status := oci.AsError(err).UpstreamStatus
	return status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// complete reports whether a descriptor is enough to answer a HEAD with.
func complete(d oci.Descriptor) bool {
	return d.Digest != "" && d.Size > 0 && d.MediaType != ""
}

// getManifest gets and checks a manifest. k remembers a failure.
func (v view) getManifest(ctx context.Context, k key, ref oci.Reference, spare bool) (oci.Manifest, error) {
	mf, err := v.Remote.Manifest(ctx, v.repository, ref)
	if err == nil {
		err = check(mf, ref)
	}
	if err != nil {
		err = v.asked(ctx, err)
		v.remember(k, err, spare)
	}
	return mf, err
}

func check(mf oci.Manifest, ref oci.Reference) error {
	if !oci.Verify(mf.Digest, mf.Bytes) || ref.IsDigest() && mf.Digest != ref.Digest {
		return oci.UpstreamError(oci.ClassDigest, "", "the upstream sent a manifest that does not match its digest", nil)
	}
	if _, err := oci.ParseManifest(mf.Bytes); err != nil {
		return oci.UpstreamError(oci.ClassNotRegistry, "", "the upstream sent a manifest that clients cannot trust", err)
	}
	return nil
}

// keep stores a checked manifest and links it. What it points to is linked too,
// but unproven: it tells sizes, and opens nothing that others brought in.
func (v view) keep(mf oci.Manifest) (stored bool) {
	contents, err := oci.ParseManifest(mf.Bytes)
	if err != nil {
		return false // stored before this was checked: serve, but link nothing
	}
	v.images.add(imageKey{v.scope, mf.Digest}, contents)
	children := append(contents.Manifests, contents.Blobs...)
	if err := v.store.PutManifest(v.scope, mf, children); err != nil {
		v.storeFailed("manifest not stored", err, "scope", v.scope.String(), "digest", mf.Digest)
		return false
	}
	return true
}
