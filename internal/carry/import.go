package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

const (
	// maxManifests is how many bytes of manifests a bundle may have: they are held
	// in memory until all of it was read.
	maxManifests = 256 << 20
	// maxLinks is how many links are made in one write.
	maxLinks = 1000
	// stallPatience is how long an index that takes no writes is waited for.
	stallPatience = 30 * time.Second
	// retryEvery is how often somebody else's fill of a blob is looked at, or an
	// index that stalls.
	retryEvery = 100 * time.Millisecond
)

// ImportOptions say how a bundle is imported.
type ImportOptions struct {
	// Scopes returns where an image goes, at least one; nil = to the scope of its
	// name.
	Scopes func(bundle.Name) []oci.Scope
	// Public reports whether everybody may pull what a scope has; nil = yes. Images
	// that need not be for everybody go there only with AllowPublic.
	Public      func(oci.Scope) bool
	AllowPublic bool
	// NoMove refuses to move any tag: a *MoveError.
	NoMove bool
	// DryRun verifies the bundle, and changes nothing.
	DryRun bool
	// Now is the time at which tags were checked; nil = time.Now.
	Now func() time.Time
	// Plan, if not nil, is called with what is going to show, before anything is
	// read of it.
	Plan func([]ImportedImage)
	// Progress, if not nil, is called with what was read so far.
	Progress func(ImportProgress)
}

// ImportProgress is how far an import got. Total is how many bytes there are,
// -1 = unknown.
type ImportProgress struct {
	Blobs int   `json:"blobs"`
	Bytes int64 `json:"bytes"`
	Total int64 `json:"total"`
}

// ImportReport is what came of an import, or, of a dry run, would have.
type ImportReport struct {
	Images []ImportedImage `json:"images"`
	// Manifests is how many were put.
	Manifests int `json:"manifests"`
	// Blobs are those that are new, Cached those that were there already.
	Blobs       int   `json:"blobs"`
	Bytes       int64 `json:"bytes"`
	Cached      int   `json:"cached"`
	CachedBytes int64 `json:"cached_bytes"`
}

// ImportedImage is one image that can be pulled once it is imported.
type ImportedImage struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	// Was is what the tag pointed to before, if that was something else.
	Was digest.Digest `json:"was,omitempty"`
	// Isolated says that it need not be for everybody.
	Isolated bool `json:"isolated,omitempty"`
}

// Import brings all images of a bundle into a store. They have names: see
// bundle.Index.Rename. Nothing can be pulled before all was read, and found to be
// complete; see the package comment. If ctx ends, so does the import, but not
// between the images that are complete and those that follow.
func Import(ctx context.Context, store *storage.Store, r *bundle.Reader, o ImportOptions) (ImportReport, error) {
	if o.Scopes == nil {
		o.Scopes = func(n bundle.Name) []oci.Scope { return []oci.Scope{{Upstream: n.Upstream, Repository: n.Repository}} }
	}
	if o.Public == nil {
		o.Public = func(oci.Scope) bool { return true }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Plan == nil {
		o.Plan = func([]ImportedImage) {}
	}
	if o.Progress == nil {
		o.Progress = func(ImportProgress) {}
	}
	i := &importing{
		store: store, index: r.Index(), o: o,
		manifests: make(map[digest.Digest]*manifest), blobs: make(map[digest.Digest]bool), origins: make(map[string]oci.Scope),
		checked: make(map[checked]bool),
	}
	i.report.Images = []ImportedImage{}
	if err := i.run(ctx, r); err != nil {
		return ImportReport{}, fmt.Errorf("import: %w", err)
	}
	return i.report, nil
}

type importing struct {
	store  *storage.Store
	index  *bundle.Index
	o      ImportOptions
	report ImportReport

	manifests map[digest.Digest]*manifest
	size      int64                  // of the manifests
	blobs     map[digest.Digest]bool // that were in the bundle, and verified
	checked   map[checked]bool       // which manifests are, and whether they can be run
	origins   map[string]oci.Scope   // by image: whom its blobs count for
	progress  ImportProgress
}

// manifest is one that waits to be put.
type manifest struct {
	oci.Manifest

	contents oci.Contents
}

func (i *importing) run(ctx context.Context, r *bundle.Reader) error {
	if len(i.index.Images) == 0 {
		return errors.New("the bundle holds no image")
	}
	for _, image := range i.index.Images {
		if image.Name.IsZero() || image.Name.Reference == (oci.Reference{}) {
			return fmt.Errorf("image %s has no name", image)
		}
		i.origins[image.String()] = i.o.Scopes(image.Name)[0]
	}
	planned, err := i.plan(ctx)
	if err != nil {
		return err
	}
	i.o.Plan(planned)
	if err := i.allow(planned); err != nil {
		return err
	}
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if i.progress.Total = r.Size(); i.progress.Total >= 0 {
			i.progress.Total += i.progress.Bytes + e.Descriptor.Size
		}
		if e.Manifest != nil {
			err = i.manifest(e)
		} else {
			err = i.blob(ctx, e)
		}
		if err != nil {
			return err
		}
	}
	for _, image := range i.index.Images {
		if err := i.check(ctx, image); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if i.o.DryRun {
		i.report.Images, i.report.Manifests = planned, len(i.manifests)
		return nil
	}
	// Somebody may have pulled meanwhile.
	if planned, err = i.plan(ctx); err != nil {
		return err
	}
	if err := i.allow(planned); err != nil {
		return err
	}
	for n, image := range i.index.Images {
		if err := i.show(image, planned[n]); err != nil {
			return fmt.Errorf("%s: %w", image, err)
		}
	}
	return nil
}

// manifest keeps a manifest for later.
func (i *importing) manifest(e *bundle.Entry) error {
	if i.size += e.Descriptor.Size; i.size > maxManifests {
		return fmt.Errorf("the manifests of the bundle have more than %d MiB: export fewer images at a time", maxManifests>>20)
	}
	i.manifests[e.Descriptor.Digest] = &manifest{Manifest: *e.Manifest, contents: e.Contents}
	i.advance(e.Descriptor.Size)
	return nil
}

func (i *importing) advance(n int64) {
	i.progress.Bytes += n
	i.o.Progress(i.progress)
}

// blob reads a blob, and stores it unless it is there.
func (i *importing) blob(ctx context.Context, e *bundle.Entry) error {
	d := e.Descriptor
	content := &counted{ctx, e.Content, func(n int) { i.advance(int64(n)) }}
	part, there, err := i.part(ctx, e)
	if err != nil {
		return err
	}
	if part == nil {
		// It is read all the same: damage is damage.
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
	} else {
		if _, err := io.Copy(io.NewOffsetWriter(part, 0), content); err != nil {
			return errors.Join(err, part.Close())
		}
		if err := errors.Join(part.Commit(d.Size), part.Close()); err != nil {
			return roomless(err)
		}
	}
	if there {
		i.report.Cached++
		i.report.CachedBytes += d.Size
	} else {
		i.report.Blobs++
		i.report.Bytes += d.Size
	}
	i.blobs[d.Digest] = true
	i.progress.Blobs++
	return nil
}

// roomless says what to do about a storage without room.
func roomless(err error) error {
	if errors.Is(err, storage.ErrNoSpace) {
		return fmt.Errorf("%w: make room, raise max_size, or import fewer images", err)
	}
	return err
}

// part begins the file of a blob, unless the blob is there or must not be. A fill that
// is under way is waited for.
func (i *importing) part(ctx context.Context, e *bundle.Entry) (_ *storage.Part, there bool, err error) {
	for {
		size, err := i.store.StatBlob(ctx, e.Descriptor.Digest)
		if there = err == nil && size == e.Descriptor.Size; there || i.o.DryRun {
			return nil, there, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, false, err
		}
		part, err := i.store.Part(ctx, i.origins[e.Image], e.Descriptor.Digest, e.Descriptor.Size)
		if err == nil {
			return part, false, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, false, roomless(err)
		}
		if err := wait(ctx, retryEvery); err != nil {
			return nil, false, err
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
