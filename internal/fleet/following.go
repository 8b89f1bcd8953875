package fleet

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/oci"
)

// Join makes the Fleet ask other gateways; nil = none any more. The caller starts and
// closes the Group.
func (f *Fleet) Join(g *peers.Group) { f.following.group.Store(g) }

// Peers returns how other gateways fare; nil = there are none.
func (f *Fleet) Peers() *peers.Status {
	if g := f.following.group.Load(); g != nil {
		return g.Status()
	}
	return nil
}

// Current reports whether what this gateway answers about a digest of a scope is newer than
// a purge from now on: it has read of that, and what is under way has begun later. An empty
// digest stands for a tag.
func (f *Fleet) Current(ctx context.Context, scope oci.Scope, d digest.Digest, purge string) bool {
	depot := f.depot.Load()
	if depot == nil || !depot.purges.knows(ctx, purge) {
		return false
	}
	m, _ := depot.purges.latest(scope, oci.Reference{Digest: d})
	return !depot.begun.Before(scoped{scope, d}, m.at)
}

// owns reports whether this gateway owns a key, as far as it knows.
func (f *Fleet) owns(key string) bool {
	g := f.following.group.Load()
	return g == nil || len(g.Before(key)) == 0
}

// following is what a Fleet has to do with other gateways.
type following struct {
	group atomic.Pointer[peers.Group] // nil = there are none
	// avoided are the digests that nobody is asked for, and, after their ids, those that
	// one member is not; served are those of which something has come.
	avoided, served caution.Recent
}

// filled is told how the download of a blob has ended: what others have sent may have been
// wrong.
func (f *following) filled(d digest.Digest, class oci.Class) {
	if f.served.Drop(d.String()) && (class == oci.ClassDigest || class == oci.ClassLength) {
		f.avoided.Add(d.String(), distrustPeersFor)
	}
}

// followedBody is a blob that is read from another gateway.
type followedBody struct {
	io.ReadCloser

	caller context.Context
	from   *following
	key    string // not to ask again with
}

// Read implements io.Reader.
func (b *followedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.caller.Err() == nil {
		b.from.avoided.Add(b.key, avoidPeersFor)
	}
	return n, err
}
