package fleet

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxAsked is how many other gateways are asked for one thing that give no answer:
	// what keeps them from the upstream is likely to keep the next ones from it, too.
	maxAsked = 3
	// distrustPeersFor is how long other gateways are not asked for a blob of which they
	// have sent something wrong, and avoidPeersFor how long one is not that has cut it off.
	distrustPeersFor = 10 * time.Minute
	avoidPeersFor    = 10 * time.Second
	// vouchedFor is how long the upstream is not asked again whether it has a digest: for
	// as long as the download takes that it was asked for, mostly.
	vouchedFor = time.Minute
)

// follower answers what the bucket does not have from those gateways that weigh more than
// this one for it, and else from the upstream.
//
// Where proofs expire, the upstream must not refuse now what another gateway has.
type follower struct {
	mirror.Remote
	Upstream

	fleet *Fleet
	// lacking are repositories, as in remote; vouched are digests of them that the upstream
	// has not refused a moment ago.
	lacking, vouched caution.Recent
}

// follow asks the gateways that own a tag or digest of a repository. answered is false where
// the upstream has to be asked: they gave no answer, or there are none.
func follow[T any](ctx context.Context, f *follower, repository string, ref oci.Reference, ask func(peers.Peer) (T, error)) (value T, answered bool, err error) {
	g := f.fleet.following.group.Load()
	if g == nil {
		return value, false, nil
	}
	key, after, order := f.Identity+"/"+repository+":"+ref.Tag, f.purged(repository, ref), g.Before
	if ref.IsDigest() {
		key, order = ref.Digest.String(), g.Above
		f.begin(repository, ref.Digest)
	}
	tries := 0
	for _, m := range order(key) {
		if f.fleet.following.avoided.Has(m.ID() + key) {
			continue
		}
		p := g.At(m, f.Identity)
		p.Purge = after
		value, err := ask(p)
		if err == nil || peers.IsAnswer(err) || ctx.Err() != nil {
			return value, true, err
		}
		if tries++; tries == maxAsked || errors.Is(err, errOld) {
			break
		}
	}
	return value, false, nil
}

// purged returns the last purge of a tag or digest, which an answer about it has to be newer
// than; empty = there is none that others could still read of.
func (f *follower) purged(repository string, ref oci.Reference) string {
	depot := f.fleet.depot.Load()
	if depot == nil {
		return ""
	}
	key := depot.covering(f.scope(repository), ref)
	if key == "" || time.Since(purgeTime(key)) > keepPurges {
		return ""
	}
	return key
}

// begin notes since when something is asked for: a purge may come meanwhile.
func (f *follower) begin(repository string, d digest.Digest) {
	if depot := f.fleet.depot.Load(); depot != nil {
		depot.begun.Note(scoped{f.scope(repository), d})
	}
}

// may reports whether other gateways may answer for a digest of a repository.
func (f *follower) may(repository string, d digest.Digest) bool {
	return !f.lacking.Has(repository) && !f.fleet.following.avoided.Has(d.String())
}

// confirmed reports whether the upstream does not refuse what another gateway may have.
func (f *follower) confirmed(ctx context.Context, repository string, d digest.Digest, ask func(context.Context) error) bool {
	key := repository + "@" + d.String()
	if f.ProofTTL == 0 || f.fleet.following.group.Load() == nil || f.vouched.Has(key) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	err := ask(ctx)
	if err == nil {
		f.vouched.Add(key, min(vouchedFor, f.ProofTTL))
	}
	return err == nil || unanswered(err)
}

// confirming is confirmed for a blob, beside what another gateway answers.
func (f *follower) confirming(ctx context.Context, repository string, d digest.Digest) <-chan bool {
	found := make(chan bool, 1)
	go func() {
		defer close(found)
		defer f.fleet.survive("confirm")
		found <- f.confirmed(ctx, repository, d, func(ctx context.Context) error {
			_, err := f.Remote.HeadBlob(ctx, repository, d)
			return err
		})
	}()
	return found
}

// Blob implements mirror.Remote.
func (f *follower) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	if f.may(repository, d) {
		confirmed := sync.OnceValue(func() <-chan bool { return f.confirming(ctx, repository, d) })
		body, answered, err := follow(ctx, f, repository, oci.Reference{Digest: d}, func(p peers.Peer) (oci.BlobBody, error) {
			confirmed()
			body, err := p.Blob(ctx, repository, d, offset, length)
			body.ReadCloser = &followedBody{body.ReadCloser, ctx, &f.fleet.following, p.ID() + d.String()}
			return body, err
		})
		switch {
		case answered && err != nil:
			return body, f.noted(repository, err)
		case answered && <-confirmed():
			f.fleet.following.served.Add(d.String(), servedFor)
			return body, nil
		case answered:
			_ = body.Close()
		}
	}
	body, err := f.Remote.Blob(ctx, repository, d, offset, length)
	return body, f.noted(repository, err)
}

// HeadBlob implements mirror.Remote.
func (f *follower) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	if f.ProofTTL == 0 && f.may(repository, d) {
		size, answered, err := follow(ctx, f, repository, oci.Reference{Digest: d}, func(p peers.Peer) (int64, error) { return p.HeadBlob(ctx, repository, d) })
		if answered {
			return size, f.noted(repository, err)
		}
	}
	size, err := f.Remote.HeadBlob(ctx, repository, d)
	return size, f.noted(repository, err)
}

// noted notes that an upstream lacks what was asked for: it may have that once it was
// asked for a manifest, which nobody else is to answer for then.
func (f *follower) noted(repository string, err error) error {
	if oci.IsNotFound(err) {
		f.lacking.Add(repository, lackingFor)
	}
	return err
}

// Manifest implements mirror.Remote. Nobody else is asked by a tag: what a tag means is
// one question, and what its manifest is another one.
func (f *follower) Manifest(ctx context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	if ref.IsDigest() && f.may(repository, ref.Digest) && f.confirmed(ctx, repository, ref.Digest, func(ctx context.Context) error {
		_, _, err := f.Remote.Resolve(ctx, repository, ref, nil)
		return err
	}) {
		if mf, answered, err := f.followManifest(ctx, repository, ref.Digest); answered {
			return mf, err
		}
	}
	return f.Remote.Manifest(ctx, repository, ref)
}

func (f *follower) followManifest(ctx context.Context, repository string, d digest.Digest) (mf oci.Manifest, answered bool, err error) {
	return follow(ctx, f, repository, oci.Reference{Digest: d}, func(p peers.Peer) (oci.Manifest, error) {
		return p.Manifest(ctx, repository, d)
	})
}

// Resolve implements mirror.Remote.
func (f *follower) Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	if !ref.IsDigest() {
		return f.resolveTag(ctx, repository, ref, held)
	}
	if f.ProofTTL == 0 && f.may(repository, ref.Digest) {
		told, answered, err := follow(ctx, f, repository, ref, func(p peers.Peer) (peers.Told, error) { return p.Resolve(ctx, repository, ref) })
		if answered {
			return told.Descriptor, nil, err
		}
	}
	return f.Remote.Resolve(ctx, repository, ref, held)
}
