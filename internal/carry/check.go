package carry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
)

// checked is a manifest that was checked for a scope.
type checked struct {
	scope  oci.Scope
	digest digest.Digest
}

// check returns an error unless an image can be pulled from all of its scopes once it
// shows.
func (i *importing) check(ctx context.Context, image bundle.Image) error {
	root := i.manifests[image.Descriptor.Digest]
	if root == nil {
		return &bundle.DamageError{Digest: image.Descriptor.Digest, Reason: fmt.Errorf("the manifest of %s is missing", image)}
	}
	for _, scope := range i.o.Scopes(image.Name) {
		runnable, err := i.complete(ctx, scope, root, image, 0)
		if err == nil && !runnable {
			err = &bundle.DamageError{Digest: root.Digest, Reason: fmt.Errorf("it is the index of %s, none of whose images is in the bundle", image)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// complete checks a manifest and what is below it. It reports whether there is a
// manifest that is no index: of the platforms of an index, some may be missing.
func (i *importing) complete(ctx context.Context, scope oci.Scope, m *manifest, of bundle.Image, depth int) (runnable bool, err error) {
	at := checked{scope, m.Digest}
	if runnable, ok := i.checked[at]; ok {
		return runnable, nil
	}
	if depth > image.MaxDepth {
		return false, &bundle.DamageError{Digest: m.Digest, Reason: fmt.Errorf("it lies too deep below the index of %s", of)}
	}
	children, blobs := m.contents.Children()
	for _, d := range blobs {
		if err := i.has(ctx, scope, d, of, len(m.contents.Manifests) > 0); err != nil {
			return false, err
		}
	}
	runnable = len(children) == 0
	for _, d := range children {
		child := i.manifests[d.Digest]
		if child == nil {
			continue
		}
		below, err := i.complete(ctx, scope, child, of, depth+1)
		if err != nil {
			return false, err
		}
		runnable = runnable || below
	}
	i.checked[at] = runnable
	return runnable, nil
}

// has returns an error unless a scope may have a blob: the bundle has brought its
// bytes, or they are known to be the scope's. What other repositories have brought
// into the store, a bundle that names it opens to nobody.
func (i *importing) has(ctx context.Context, scope oci.Scope, d oci.Descriptor, of bundle.Image, inIndex bool) error {
	brought := i.blobs[d.Digest]
	if brought && i.o.DryRun {
		return nil
	}
	size, err := i.store.StatBlob(ctx, d.Digest)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	stored := err == nil
	if stored && d.Size >= 0 && size != d.Size {
		return &bundle.DamageError{Digest: d.Digest, Reason: fmt.Errorf("%s says that it has %d bytes, and it has %d", of, d.Size, size)}
	}
	if stored && !brought {
		link, err := i.store.Linked(ctx, scope, d.Digest)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		brought = link.Proven
	}
	switch {
	case stored && brought, mayLack(d, inIndex):
		return nil
	case brought:
		return fmt.Errorf("blob %s of %s was evicted meanwhile: the storage has no room for all of the bundle; raise max_size, or import fewer images", d.Digest, of)
	case len(i.index.Since) > 0:
		return fmt.Errorf("blob %s of %s is neither in the bundle nor cached for its repository: import the earlier bundle first, that this one continues", d.Digest, of)
	case stored:
		return &bundle.DamageError{Digest: d.Digest, Reason: fmt.Errorf("the blob of %s is missing, and that another repository has it in the cache does not count", of)}
	}
	return &bundle.DamageError{Digest: d.Digest, Reason: fmt.Errorf("the blob of %s is missing", of)}
}

// mayLack reports whether an image is complete without a blob: registries need not
// have it, or an index lists it for one platform.
func mayLack(d oci.Descriptor, inIndex bool) bool {
	return image.Foreign(d) || len(d.URLs) > 0 || inIndex && d.Platform != nil
}
