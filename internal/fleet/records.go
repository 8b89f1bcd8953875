package fleet

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Records returns the gateway's own records. What is recorded there goes to the bucket,
// too.
func (f *Fleet) Records() mirror.Records { return records{f.local.Records, f} }

type records struct {
	mirror.Records

	fleet *Fleet
}

// Linked implements mirror.Records. What was proven before a purge is not any more.
func (r records) Linked(ctx context.Context, scope oci.Scope, d digest.Digest) (storage.Link, error) {
	link, err := r.Records.Linked(ctx, scope, d)
	if depot := r.fleet.depot.Load(); depot != nil && err == nil && link.Proven {
		depot.purges.await(ctx)
		link.Proven = !depot.purges.voided(scope, d, link)
	}
	return link, err
}

// Tag implements mirror.Records. What a tag meant before a purge, it does not any more.
func (r records) Tag(ctx context.Context, scope oci.Scope, tag string) (storage.Tag, error) {
	t, err := r.Records.Tag(ctx, scope, tag)
	if depot := r.fleet.depot.Load(); depot != nil && err == nil {
		if depot.purges.await(ctx); depot.outdated(scope, tag, t) {
			return storage.Tag{}, fmt.Errorf("get tag %s:%s: it was removed: %w", scope, tag, fs.ErrNotExist)
		}
	}
	return t, err
}

// Referrers implements mirror.Records. What was told before a purge does not hold any more.
func (r records) Referrers(ctx context.Context, scope oci.Scope, d digest.Digest) (storage.Referrers, error) {
	known, err := r.Records.Referrers(ctx, scope, d)
	if depot := r.fleet.depot.Load(); depot != nil && err == nil {
		depot.purges.await(ctx)
		if m, ok := depot.purges.latest(scope, oci.Reference{Digest: d}); ok && !known.Checked.After(m.at) {
			return storage.Referrers{}, fmt.Errorf("get referrers of %s in %s: they were removed: %w", d, scope, fs.ErrNotExist)
		}
	}
	return known, err
}

// linking notes that digests are shown to be a scope's, and returns those of which that is
// not news from before a purge.
func (r records) linking(scope oci.Scope, ds ...oci.Descriptor) []oci.Descriptor {
	depot := r.fleet.depot.Load()
	if depot == nil {
		return ds
	}
	return slices.DeleteFunc(slices.Clone(ds), func(d oci.Descriptor) bool { return !depot.confirm(scope, d.Digest) })
}

// PutTag implements mirror.Records. Only a tag that is new, or has moved, is uploaded.
func (r records) PutTag(ctx context.Context, scope oci.Scope, tag string, t storage.Tag) error {
	if depot := r.fleet.depot.Load(); depot != nil {
		depot.confirmTag(scope, tag)
	}
	err := r.Records.PutTag(ctx, scope, tag, t)
	if t.Changed.Equal(t.Checked) {
		r.fleet.upload(job{kind: tagged, scope: scope, name: tag})
	}
	return err
}

// DeleteTag implements mirror.Records.
func (r records) DeleteTag(ctx context.Context, scope oci.Scope, tag string) error {
	err := r.Records.DeleteTag(ctx, scope, tag)
	r.fleet.upload(job{kind: forgotten, scope: scope, name: tag})
	return err
}

// PutManifest implements mirror.Records.
func (r records) PutManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	if len(r.linking(scope, m.Descriptor())) == 0 {
		return nil
	}
	err := r.Records.PutManifest(ctx, scope, m, children)
	r.uploadManifest(scope, m.Digest)
	return err
}

// PutOpenManifest implements mirror.Records.
func (r records) PutOpenManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	if len(r.linking(scope, m.Descriptor())) == 0 {
		return nil
	}
	err := r.Records.PutOpenManifest(ctx, scope, m, children)
	r.uploadManifest(scope, m.Digest)
	return err
}

// UseManifest implements mirror.Records.
func (r records) UseManifest(d digest.Digest) {
	r.Records.UseManifest(d)
	r.fleet.use(d, true)
}

func (r records) uploadManifest(scope oci.Scope, d digest.Digest) {
	r.fleet.upload(job{kind: manifest, digest: d}, job{kind: linked, scope: scope, digest: d})
}

// Link implements mirror.Records.
func (r records) Link(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	if ds = r.linking(scope, ds...); len(ds) == 0 {
		return nil
	}
	err := r.Records.Link(ctx, scope, ds...)
	r.uploadLinks(scope, ds)
	return err
}

// LinkOpen implements mirror.Records.
func (r records) LinkOpen(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	if ds = r.linking(scope, ds...); len(ds) == 0 {
		return nil
	}
	err := r.Records.LinkOpen(ctx, scope, ds...)
	r.uploadLinks(scope, ds)
	return err
}

// Resize implements mirror.Records.
func (r records) Resize(ctx context.Context, scope oci.Scope, d oci.Descriptor) error {
	err := r.Records.Resize(ctx, scope, d)
	r.uploadLinks(scope, []oci.Descriptor{d})
	return err
}

// Refute implements mirror.Records.
func (r records) Refute(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	err := r.Records.Refute(ctx, scope, d)
	r.fleet.upload(job{kind: refuted, scope: scope, digest: d})
	return err
}

func (r records) uploadLinks(scope oci.Scope, ds []oci.Descriptor) {
	for _, d := range ds {
		r.fleet.upload(job{kind: linked, scope: scope, digest: d.Digest})
	}
}

// PutReferrers implements mirror.Records. Only a list that has changed is uploaded.
func (r records) PutReferrers(ctx context.Context, scope oci.Scope, d digest.Digest, now storage.Referrers) error {
	old, missing := r.Records.Referrers(ctx, scope, d)
	err := r.Records.PutReferrers(ctx, scope, d, now)
	same := func(a, b oci.Descriptor) bool { return a.Digest == b.Digest }
	if missing != nil || !slices.EqualFunc(old.Descriptors, now.Descriptors, same) {
		r.fleet.upload(job{kind: referred, scope: scope, digest: d})
	}
	return err
}

// Blobs returns the gateway's own blobs. What is stored there goes to the bucket, too.
func (f *Fleet) Blobs() mirror.Blobs { return blobs{f.local.Blobs, f} }

type blobs struct {
	mirror.Blobs

	fleet *Fleet
}

// ServeBlob implements mirror.Blobs.
func (b blobs) ServeBlob(ctx context.Context, d digest.Digest) (storage.Served, int64, error) {
	served, size, err := b.Blobs.ServeBlob(ctx, d)
	if err == nil {
		b.fleet.use(d, false)
	}
	return served, size, err
}

// Begin implements mirror.Blobs.
func (b blobs) Begin(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
	if depot := b.fleet.depot.Load(); depot != nil {
		depot.begun.note(scope, d)
	}
	p, err := b.Blobs.Begin(ctx, scope, d, size)
	if err != nil {
		return nil, err
	}
	return part{p, b.fleet, d}, nil
}

// part is one whose blob is uploaded once it is stored.
type part struct {
	fill.Part

	fleet  *Fleet
	digest digest.Digest
}

// Commit implements fill.Part.
func (p part) Commit(size int64) error {
	err := p.Part.Commit(size)
	if err == nil {
		p.fleet.use(p.digest, false)
		p.fleet.upload(job{kind: blob, digest: p.digest})
	}
	return err
}
