package mirror

import (
	"context"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// rememberProof is how long a proof that could not be renewed is believed on, until the
// upstream is asked again.
const rememberProof = time.Minute

// renew has the upstream confirm a proof that is too old. While it gives no answer, the
// proof is believed on; what it refuses is not the scope's any more.
func (v view) renew(ctx context.Context, link *storage.Link, d digest.Digest, ask func(context.Context, digest.Digest) (int64, error)) error {
	if v.ProofTTL <= 0 || !link.Proven || v.Offline {
		return nil
	}
	at, err := v.store.ProvenAt(ctx, v.scope, d)
	if err != nil || within(v.now().Sub(at), v.ProofTTL) {
		v.readFailed("read proof", v.scope, d.String(), err)
		return nil
	}
	k := v.key(kindProof, d.String())
	if v.remembered(k, true) != nil {
		return nil //nolint:nilerr // it is believed while that is remembered
	}
	desc, _, err := v.heads.do(ctx, v, k, v.patience(true), func(ctx context.Context) (oci.Descriptor, error) {
		size, err := ask(ctx, d)
		if err == nil {
			desc := oci.Descriptor{Digest: d, Size: max(size, -1)}
			v.proven(ctx, desc)
			return desc, nil
		}
		err = v.asked(ctx, err)
		if class := oci.ClassOf(err); class == oci.ClassNotFound || class == oci.ClassDenied {
			v.refuted(ctx, d)
			v.remember(v.key(kindBlob, d.String()), err, false)
			v.remember(v.key(kindManifest, d.String()), err, false)
			return oci.Descriptor{}, err
		}
		v.failures.put(k, oci.AsError(err), v.now(), rememberProof)
		return oci.Descriptor{}, err
	})
	switch class := oci.ClassOf(err); {
	case err == nil && desc.Size >= 0 && link.Size < 0:
		link.Size = desc.Size
	case class == oci.ClassNotFound, class == oci.ClassDenied:
		link.Proven = false
		return fmt.Errorf("renew the proof of %s for %s: %w", d, v.scope, err)
	}
	return nil
}

// refuted records that the upstream does not have, or give, what it had.
func (v view) refuted(ctx context.Context, d digest.Digest) {
	if err := v.store.Refute(ctx, v.scope, d); err != nil {
		v.storeFailed("link not stored", err, "scope", v.scope.String())
	}
}

// askBlob asks for the size of a blob, which is -1 if the upstream does not tell it.
func (v view) askBlob(ctx context.Context, d digest.Digest) (int64, error) {
	mark := v.images.mark()
	size, err := v.Remote.HeadBlob(ctx, v.repository, d)
	if oci.IsNotFound(err) && v.askForImage(ctx, d, mark) {
		size, err = v.Remote.HeadBlob(ctx, v.repository, d)
	}
	return size, err
}

// askManifest asks for the size of a manifest.
func (v view) askManifest(ctx context.Context, d digest.Digest) (int64, error) {
	desc, mf, err := v.Remote.Resolve(ctx, v.repository, oci.Reference{Digest: d})
	switch {
	case err != nil:
		return -1, err
	case mf != nil:
		return int64(len(mf.Bytes)), check(mf, oci.Reference{Digest: d})
	case desc.Digest != d:
		return -1, oci.UpstreamError(oci.ClassDigest, "", "the upstream names another digest than was asked for", nil)
	}
	return desc.Size, nil
}

// current returns a manifest that is stored and the scope's, its proof renewed where
// that is too old.
func (v view) current(ctx context.Context, d digest.Digest) (oci.Manifest, bool, error) {
	mf, ok := v.local(ctx, d)
	if !ok {
		return mf, false, nil
	}
	link := storage.Link{Proven: true}
	if err := v.renew(ctx, &link, d, v.askManifest); err != nil {
		return oci.Manifest{}, false, err
	}
	return mf, true, nil
}
