package carry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// ExportOptions say what of the images is exported. The zero value is all that is
// cached.
type ExportOptions struct {
	// Platforms have to be cached as a whole; without, those are taken that are.
	Platforms []image.Platform
	// Since are the index.json of earlier bundles, and Has the blobs of these, which
	// are left out, by repository: see bundle.Blobs.
	Since []digest.Digest
	Has   map[string]map[digest.Digest]bool
	// Isolated reports whether what a scope has need not be for everybody; nil =
	// nothing. The bundle says so of its images.
	Isolated func(oci.Scope) bool
}

// ExportReport is what an export holds.
type ExportReport struct {
	Images []ExportedImage `json:"images"`
	// Missing are the images that are not in it.
	Missing []MissingImage `json:"missing,omitempty"`
	// Manifests and Blobs are how many there are, Bytes their size.
	Manifests int   `json:"manifests"`
	Blobs     int   `json:"blobs"`
	Bytes     int64 `json:"bytes"`
	// LeftOut are the blobs that an earlier bundle has, and LeftOutBytes their size.
	LeftOut      int   `json:"left_out"`
	LeftOutBytes int64 `json:"left_out_bytes"`
}

// ExportedImage is one image of an export.
type ExportedImage struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
	// Platforms are those that are in the export, and Uncached those that the image
	// has beyond.
	Platforms []string `json:"platforms,omitempty"`
	Uncached  []string `json:"uncached,omitempty"`
	// Isolated says that it need not be for everybody.
	Isolated bool `json:"isolated,omitempty"`
}

// Isolated reports whether an image of the export need not be for everybody.
func (r *ExportReport) Isolated() bool {
	return slices.ContainsFunc(r.Images, func(i ExportedImage) bool { return i.Isolated })
}

// MissingImage is an image that cannot be exported.
type MissingImage struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest,omitempty"` // of what is missing, if that is known
	Reason string        `json:"reason"`
}

// Export is what is going to be written.
type Export struct {
	// Report is complete before anything is written.
	Report ExportReport

	store     *storage.Store
	index     bundle.Index
	manifests []digest.Digest
	blobs     []oci.Descriptor
	seen      map[digest.Digest]bool // that are in it
	left      map[digest.Digest]bool // that are left out, so far
	o         ExportOptions
}

// NewExport finds out what there is of images. The error is that of ctx, or of a
// store that cannot tell.
func NewExport(ctx context.Context, store *storage.Store, wants []image.Want, o ExportOptions) (*Export, error) {
	e := &Export{store: store, seen: make(map[digest.Digest]bool), left: make(map[digest.Digest]bool), o: o}
	if e.o.Isolated == nil {
		e.o.Isolated = func(oci.Scope) bool { return false }
	}
	e.index.Since = o.Since
	e.Report.Images = []ExportedImage{}
	sorted := slices.Clone(wants)
	slices.SortFunc(sorted, func(a, b image.Want) int { return cmp.Compare(nameOf(a).String(), nameOf(b).String()) })
	for i, want := range sorted {
		if i > 0 && nameOf(want) == nameOf(sorted[i-1]) {
			continue
		}
		if err := e.add(ctx, want); err != nil {
			return nil, fmt.Errorf("export %s: %w", nameOf(want), err)
		}
	}
	return e, nil
}

// nameOf returns the name that a bundle has for an image.
func nameOf(want image.Want) bundle.Name {
	return bundle.Name{Upstream: want.Image.Upstream, Repository: want.Image.Repository, Reference: want.Image.Reference()}
}

// add adds the best that the scopes of an image have: of several, the one whose tag
// was confirmed last.
func (e *Export) add(ctx context.Context, want image.Want) error {
	name := nameOf(want)
	missing := MissingImage{Name: name.String(), Reason: cmp.Or(want.Error, "is not cached")}
	for _, scope := range e.newest(ctx, want) {
		found, err := e.find(ctx, image.Stored{Store: e.store, Scope: scope}, name)
		if err != nil {
			return err
		}
		if found.lacks == nil {
			found.exported.Isolated = e.o.Isolated(scope)
			e.take(name, found)
			return nil
		}
		missing = *found.lacks
	}
	e.Report.Missing = append(e.Report.Missing, missing)
	return nil
}

// newest returns the scopes of an image in the order in which they are tried.
func (e *Export) newest(ctx context.Context, want image.Want) []oci.Scope {
	scopes := slices.Clone(want.Scopes)
	tag := want.Image.Reference().Tag
	if tag == "" || len(scopes) < 2 {
		return scopes
	}
	checked := make(map[oci.Scope]storage.Tag, len(scopes))
	for _, scope := range scopes {
		checked[scope], _ = e.store.Tag(ctx, scope, tag)
	}
	slices.SortStableFunc(scopes, func(a, b oci.Scope) int { return checked[b].Checked.Compare(checked[a].Checked) })
	return scopes
}

// found is what there is of one image.
type found struct {
	root      oci.Descriptor
	manifests []oci.Descriptor // the root included
	blobs     []oci.Descriptor
	exported  ExportedImage
	firstLack *MissingImage
	lacks     *MissingImage // nil = nothing that has to be there
}

func (e *Export) find(ctx context.Context, from image.Stored, name bundle.Name) (*found, error) {
	f := &found{exported: ExportedImage{Name: name.String()}}
	runnable := false
	err := image.Walk(ctx, from, name.Reference, image.Choice{Platforms: e.o.Platforms}, func(p image.Part) error {
		lack, err := e.lack(ctx, p)
		if err != nil {
			return err
		}
		if f.root.Digest == "" {
			f.root = p.Manifest
		}
		switch {
		case lack != nil:
			lack.Name = name.String()
			f.lack(p, lack)
		case p.Kind != image.KindPlatform:
			f.add(p)
			runnable = runnable || p.Kind == image.KindManifest
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	f.exported.Digest = f.root.Digest
	switch {
	case f.lacks != nil:
	case f.firstLack != nil && (len(e.o.Platforms) > 0 || !runnable):
		f.lacks = f.firstLack
	case !runnable:
		f.lacks = &MissingImage{Name: name.String(), Digest: f.root.Digest, Reason: "the image has none of the platforms"}
	}
	return f, nil
}

// lack notes that a part is not there as a whole. Without an index that is there, and
// lacks a blob, there is no image.
func (f *found) lack(p image.Part, lack *MissingImage) {
	if f.firstLack == nil {
		f.firstLack = lack
	}
	if p.Kind == image.KindIndex && f.lacks == nil {
		f.lacks = lack
	}
	if p.Platform != "" && p.Kind == image.KindManifest {
		f.exported.Uncached = append(f.exported.Uncached, p.Platform)
	}
}

// add adds a part that is there.
func (f *found) add(p image.Part) {
	f.manifests = append(f.manifests, p.Manifest)
	f.blobs = append(f.blobs, p.Blobs...)
	if p.Kind == image.KindManifest && p.Platform != "" {
		f.exported.Platforms = append(f.exported.Platforms, p.Platform)
	}
}

// lack returns what of a part is missing; nil = nothing. The error is one of a store
// that cannot tell.
func (e *Export) lack(ctx context.Context, p image.Part) (*MissingImage, error) {
	if p.Err != nil {
		if !errors.Is(p.Err, fs.ErrNotExist) {
			return nil, p.Err
		}
		return &MissingImage{Digest: p.Manifest.Digest, Reason: "manifest " + p.Err.Error()}, nil
	}
	for _, d := range p.Blobs {
		if e.seen[d.Digest] {
			continue
		}
		size, err := e.store.StatBlob(ctx, d.Digest)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return &MissingImage{Digest: d.Digest, Reason: "blob is not cached"}, nil
		case err != nil:
			return nil, err
		case d.Size >= 0 && size != d.Size:
			return &MissingImage{Digest: d.Digest, Reason: fmt.Sprintf("blob has %d bytes, and its manifest says %d", size, d.Size)}, nil
		}
	}
	return nil, nil
}

// take adds an image that is there.
func (e *Export) take(name bundle.Name, f *found) {
	entry := bundle.Image{Name: name, Descriptor: f.root, Isolated: f.exported.Isolated}
	for _, d := range f.manifests {
		if d.Digest != f.root.Digest {
			entry.Manifests = append(entry.Manifests, d.Digest)
		}
		if !e.seen[d.Digest] {
			e.seen[d.Digest] = true
			e.manifests = append(e.manifests, d.Digest)
			e.Report.Manifests++
			e.Report.Bytes += d.Size
		}
	}
	for _, d := range f.blobs {
		size := max(d.Size, 0)
		switch {
		case e.seen[d.Digest]:
			continue
		case e.o.Has[name.Place()][d.Digest]:
			if !e.left[d.Digest] {
				e.left[d.Digest] = true
				e.Report.LeftOut++
				e.Report.LeftOutBytes += size
			}
			continue
		case e.left[d.Digest]: // but this repository needs it
			delete(e.left, d.Digest)
			e.Report.LeftOut--
			e.Report.LeftOutBytes -= size
		}
		e.seen[d.Digest] = true
		e.blobs = append(e.blobs, d)
		e.Report.Blobs++
		e.Report.Bytes += size
	}
	e.index.Images = append(e.index.Images, entry)
	e.Report.Images = append(e.Report.Images, f.exported)
}

// Write writes the export. What was removed since it was made up is an error, as is
// a blob that is damaged, which is in quarantine then. progress, if not nil, is called
// with how many bytes were written.
func (e *Export) Write(ctx context.Context, w *bundle.Writer, progress func(written int64)) error {
	if progress == nil {
		progress = func(int64) {}
	}
	if err := w.Begin(e.index); err != nil {
		return err
	}
	var written int64
	for _, d := range e.manifests {
		m, err := e.store.Manifest(ctx, d)
		if err == nil {
			err = cmp.Or(ctx.Err(), w.Manifest(m))
		}
		if err != nil {
			return fmt.Errorf("export: %w", err)
		}
		written += int64(len(m.Bytes))
		progress(written)
	}
	for _, d := range e.blobs {
		if err := e.writeBlob(ctx, w, d, func(n int) {
			written += int64(n)
			progress(written)
		}); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return w.Close()
}

func (e *Export) writeBlob(ctx context.Context, w *bundle.Writer, d oci.Descriptor, progress func(int)) error {
	f, size, err := e.store.OpenBlob(ctx, d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	d.Size = size
	err = w.Blob(d, &counted{ctx, bundle.Verify(d, f), progress})
	if _, ok := errors.AsType[*bundle.DamageError](err); ok {
		// The storage finds out the same, and keeps it from others.
		err = fmt.Errorf("blob %s is damaged in the storage", d.Digest)
		if failed := e.store.VerifyBlob(ctx, d.Digest); !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// counted reads until a context ends, and tells how much.
type counted struct {
	ctx  context.Context //nolint:containedctx // it is that of the one call that reads
	r    io.Reader
	tell func(n int)
}

// Read implements io.Reader.
func (c *counted) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(b)
	c.tell(n)
	return n, err
}
