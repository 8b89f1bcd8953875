package image

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Puller brings what it is asked for into the store, from the upstreams if need be.
// mirror.Mirror is one.
type Puller interface {
	Manifest(ctx context.Context, r oci.Request) (oci.Manifest, oci.CacheStatus, error)
	Referrers(ctx context.Context, r oci.Request) ([]oci.Descriptor, oci.CacheStatus, error)
	// Pull returns once the blob lies in the store.
	Pull(ctx context.Context, r oci.Request, progress func(covered, size int64)) (oci.Descriptor, oci.CacheStatus, error)
}

// pulled reads the parts of a repository by pulling them.
type pulled struct {
	puller     Puller
	upstream   string // its name
	repository string
	stored     Stored

	stale string // why a tag could not be confirmed; empty = none was in doubt
}

func (p *pulled) request(kind oci.Kind, ref oci.Reference) oci.Request {
	return oci.Request{Kind: kind, Upstream: p.upstream, Repository: p.repository, Name: p.repository, Reference: ref}
}

// Manifest implements Source.
func (p *pulled) Manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, error) {
	mf, status, err := p.puller.Manifest(ctx, p.request(oci.KindManifest, ref))
	if err == nil && status.Result == oci.ResultStale {
		p.stale = status.Detail
	}
	return mf, err
}

// Config implements Source.
func (p *pulled) Config(ctx context.Context, d oci.Descriptor) ([]byte, error) {
	if _, _, err := p.puller.Pull(ctx, p.request(oci.KindBlob, oci.Reference{Digest: d.Digest}), nil); err != nil {
		return nil, err
	}
	return p.stored.Config(ctx, d)
}

// Referrers implements Source.
func (p *pulled) Referrers(ctx context.Context, d digest.Digest) ([]oci.Descriptor, error) {
	ds, _, err := p.puller.Referrers(ctx, p.request(oci.KindReferrers, oci.Reference{Digest: d}))
	return ds, err
}
