package fleet

import (
	"context"
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

// PutTag implements mirror.Records. Only a tag that is new, or has moved, is uploaded.
func (r records) PutTag(ctx context.Context, scope oci.Scope, tag string, t storage.Tag) error {
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
	err := r.Records.PutManifest(ctx, scope, m, children)
	r.uploadManifest(scope, m.Digest)
	return err
}

// PutOpenManifest implements mirror.Records.
func (r records) PutOpenManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error {
	err := r.Records.PutOpenManifest(ctx, scope, m, children)
	r.uploadManifest(scope, m.Digest)
	return err
}

func (r records) uploadManifest(scope oci.Scope, d digest.Digest) {
	r.fleet.upload(job{kind: manifest, digest: d}, job{kind: linked, scope: scope, digest: d})
}

// Link implements mirror.Records.
func (r records) Link(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	err := r.Records.Link(ctx, scope, ds...)
	r.uploadLinks(scope, ds)
	return err
}

// LinkOpen implements mirror.Records.
func (r records) LinkOpen(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
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

// Begin implements mirror.Blobs.
func (b blobs) Begin(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
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
		p.fleet.upload(job{kind: blob, digest: p.digest})
	}
	return err
}
