package fleet

import (
	"context"
	"io"
	"iter"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet/forest"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
	"github.com/pullgate/pullgate/internal/oci"
)

// How much is kept in the bucket, and what is known of that; see package janitor.
type (
	// Limits say how much is kept.
	Limits = janitor.Limits
	// Report is what the last cleaning has found and done.
	Report = janitor.Report
	// Cleaning is how far a cleaning is.
	Cleaning = janitor.Cleaning
)

// newJanitor returns the janitor of a bucket.
func newJanitor(d *depot, f *Fleet) (*janitor.Janitor, *janitor.Uses) {
	return janitor.New(janitor.Options{
		Objects: counted{d.objects, &d.counts},
		In: janitor.Folders{
			Blobs: blobsAt, Manifests: manifestAt, Proofs: proofsAt, Purges: purgesAt, Uses: usesAt, Base: usesAt + "base", Report: reportAt,
		},
		Limits: func() Limits { return *f.limits.Load() },
		Pinned: d.pins.means,
		Contents: func(ctx context.Context, of digest.Digest) (none oci.Contents, err error) {
			mf, err := f.local.Records.Manifest(ctx, of)
			if err != nil {
				return none, err
			}
			_, contents, err := oci.DecodeManifest(mf.MediaType, mf.Bytes)
			return contents, err
		},
		Well:    func() bool { return d.reads.Open() == nil && d.bodies.Open() == nil && d.writes.Open() == nil },
		Mine:    func() bool { return f.owns("janitor") },
		Gone:    func(key string) { d.present.Drop(key) },
		Expire:  func(ctx context.Context, purges []string) error { return d.purges.expire(ctx, purges) },
		Survive: f.survive,
		Log:     d.log,
	})
}

// counted counts requests.
type counted struct {
	bucket.Objects

	counts *counts
}

// Get implements bucket.Objects.
func (c counted) Get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	c.counts.reads.Add(1)
	return c.Objects.Get(ctx, key, offset, length)
}

// List implements bucket.Objects. A list of many pages counts as one.
func (c counted) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	c.counts.reads.Add(1)
	return c.Objects.List(ctx, prefix, after)
}

// Put implements bucket.Objects.
func (c counted) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	c.counts.writes.Add(1)
	return c.Objects.Put(ctx, key, content, size, o)
}

// Delete implements bucket.Objects.
func (c counted) Delete(ctx context.Context, key string) error {
	c.counts.writes.Add(1)
	return c.Objects.Delete(ctx, key)
}

// means returns what the pins of all gateways, and of this one's configuration, mean in the
// bucket.
func (p *pins) means(ctx context.Context) (map[digest.Digest]bool, error) {
	if err := p.compare(ctx); err != nil {
		return nil, err
	}
	stored, err := p.fleet.local.Store.Pins(ctx)
	if err != nil {
		return nil, err
	}
	pins, roots := slices.Clone(p.fleet.local.Store.Limits().Pins), map[digest.Digest]bool{}
	for _, one := range stored {
		pins = append(pins, one.Pin)
	}
	upstreams := map[string][]oci.Pin{}
	for _, pin := range pins {
		if pin.Digest != "" {
			roots[pin.Digest] = true
		} else {
			upstreams[pin.Upstream] = append(upstreams[pin.Upstream], pin)
		}
	}
	for name, pins := range upstreams {
		if err := p.roots(ctx, name, pins, roots); err != nil {
			return nil, err
		}
	}
	images := forest.Forest{Read: p.depot.contents}
	return images.Walk(ctx, roots)
}

// roots adds the digests of the tags of an upstream that are pinned.
func (p *pins) roots(ctx context.Context, upstream string, pins []oci.Pin, to map[digest.Digest]bool) error {
	for _, end := range []string{"/", "~"} {
		for o, err := range p.depot.objects.List(ctx, tagsAt+upstream+end, "") {
			if err != nil {
				return err
			}
			scope, tag, ok := scopeOf(o.Key, tagsAt)
			if !ok || !slices.ContainsFunc(pins, func(p oci.Pin) bool { return p.Match(scope, tag) }) {
				continue
			}
			var t sharedTag
			if _, err := p.writer().read(ctx, o.Key, &t); err != nil {
				return err
			}
			if _, err := oci.ParseDigest(t.Digest.String()); err == nil {
				to[t.Digest] = true
			}
		}
	}
	return nil
}
