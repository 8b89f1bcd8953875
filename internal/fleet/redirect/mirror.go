// Package redirect sends clients to the bucket of a fleet for large blobs that their
// gateway does not have.
//
// A client is sent there only for what the gateway would serve it from there: access was
// checked, its repository may have the blob, and the bucket has one of that size. It
// verifies the bytes itself, as clients do with all blobs. Nobody else does, so that one who
// comes back for the same blob gets it from the gateway, which finds out what is wrong with
// the object, and also answers those who cannot reach the bucket.
package redirect

import (
	"context"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
)

const (
	// Lasting is how long a URL is good for. A client asks at once, and what has begun
	// then goes on.
	Lasting = 2 * time.Minute
	// backWithin is how soon a client that was sent away comes back if it has not got
	// what it wanted.
	backWithin = 10 * time.Minute
)

// Options make a Mirror. All are required.
type Options struct {
	registry.Mirror

	// MinSize is how many bytes a blob has at the least for which a client is sent away.
	MinSize int64
	// Upstream reports whether that is done for what an upstream has, which everybody may
	// have who gets hold of a URL.
	Upstream func(name string) bool
	// Stored reports whether the gateway has a blob itself.
	Stored func(ctx context.Context, d digest.Digest) bool
	// Shared returns the key and the size of a blob that the bucket has.
	Shared func(ctx context.Context, d digest.Digest) (key string, size int64, ok bool)
	// URL returns where the bucket gives an object to anybody, for as long as Lasting says.
	URL func(ctx context.Context, key string) (string, error)
	// Sent is told what clients are sent away for.
	Sent func(d digest.Digest)
}

// Mirror is a registry.Mirror that has some of its blobs elsewhere.
type Mirror struct {
	Options

	away caution.Recent // clients and the blobs that they were sent away for
}

// New returns a Mirror.
func New(o Options) *Mirror { return &Mirror{Options: o} }

// Blob implements registry.Mirror.
func (m *Mirror) Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	if b, ok := m.elsewhere(ctx, r); ok {
		return b, oci.CacheStatus{Result: oci.ResultMiss, Detail: "redirect"}, nil
	}
	return m.Mirror.Blob(ctx, r)
}

// elsewhere returns a blob that the client gets from the bucket. What is wrong with the
// request, the mirror itself says.
func (m *Mirror) elsewhere(ctx context.Context, r oci.Request) (b oci.Blob, ok bool) {
	d := r.Reference.Digest
	client := r.Client + " " + r.Upstream + " " + d.String()
	if r.Ranged || !m.Upstream(r.Upstream) || m.Stored(ctx, d) || m.away.Has(client) {
		return b, false
	}
	key, size, ok := m.Shared(ctx, d)
	if !ok || size < m.MinSize {
		return b, false
	}
	if known, _, err := m.StatBlob(ctx, r); err != nil || known.Size != size {
		return b, false
	}
	location, err := m.URL(ctx, key)
	if err != nil {
		return b, false
	}
	m.away.Add(client, backWithin)
	m.Sent(d)
	return oci.Blob{Digest: d, Size: size, Location: location}, true
}
