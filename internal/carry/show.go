package carry

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// show makes an image one that can be pulled: what is below comes before what leads
// to it.
func (i *importing) show(image bundle.Image, planned ImportedImage) error {
	for _, scope := range i.o.Scopes(image.Name) {
		if err := i.put(scope, i.manifests[image.Descriptor.Digest], make(map[digest.Digest]bool)); err != nil {
			return err
		}
		tag := image.Name.Reference.Tag
		if tag == "" {
			continue
		}
		root, now := i.manifests[image.Descriptor.Digest], i.o.Now()
		put := storage.Tag{Digest: root.Digest, MediaType: root.MediaType, Size: int64(len(root.Bytes)), Checked: now, Changed: now}
		if old, err := i.store.Tag(context.Background(), scope, tag); err == nil && old.Digest == put.Digest {
			put.Changed = old.Changed
		}
		if err := i.persist(func() error { return i.store.PutTag(context.Background(), scope, tag, put) }); err != nil {
			return err
		}
	}
	i.report.Images = append(i.report.Images, planned)
	return nil
}

// put puts a manifest, after what it points to.
func (i *importing) put(scope oci.Scope, m *manifest, done map[digest.Digest]bool) error {
	if done[m.Digest] {
		return nil
	}
	done[m.Digest] = true
	manifests, blobs := m.contents.Children()
	for _, d := range manifests {
		if child := i.manifests[d.Digest]; child != nil {
			if err := i.put(scope, child, done); err != nil {
				return err
			}
		}
	}
	// Others are known to be the scope's, or nobody gets them from it.
	brought := slices.DeleteFunc(slices.Clone(blobs), func(d oci.Descriptor) bool { return !i.blobs[d.Digest] })
	for some := range slices.Chunk(brought, maxLinks) {
		if err := i.persist(func() error { return i.store.Link(context.Background(), scope, some...) }); err != nil {
			return err
		}
	}
	children := slices.Concat(manifests, blobs)
	err := i.persist(func() error { return i.store.PutManifest(context.Background(), scope, m.Manifest, children) })
	if err == nil {
		i.report.Manifests++
	}
	return err
}

// persist makes a write, and tries again for a while if the index takes none. It does
// not end with the client: what is complete shows as a whole.
func (i *importing) persist(write func() error) error {
	for began := time.Now(); ; {
		err := write()
		if !errors.Is(err, storage.ErrStalled) || time.Since(began) > stallPatience {
			return err
		}
		if err := wait(context.Background(), retryEvery); err != nil {
			return err
		}
	}
}
