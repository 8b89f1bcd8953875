package fleet

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
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
	lacking, vouched recent
}

// follow asks the gateways that own a key. answered is false where the upstream has to be
// asked: they gave no answer, or there are none.
func follow[T any](ctx context.Context, f *follower, key string, ask func(peers.Peer) (T, error)) (value T, answered bool, err error) {
	g := f.fleet.following.group.Load()
	if g == nil {
		return value, false, nil
	}
	tries := 0
	for _, m := range g.Before(key) {
		if f.fleet.following.avoided.has(m.ID() + key) {
			continue
		}
		value, err := ask(g.At(m, f.Identity))
		if err == nil || peers.IsAnswer(err) || ctx.Err() != nil {
			return value, true, err
		}
		if tries++; tries == maxAsked || errors.Is(err, errOld) {
			break
		}
	}
	return value, false, nil
}

// may reports whether other gateways may answer for a digest of a repository.
func (f *follower) may(repository string, d digest.Digest) bool {
	return !f.lacking.has(repository) && !f.fleet.following.avoided.has(d.String())
}

// confirmed reports whether the upstream does not refuse what another gateway may have.
func (f *follower) confirmed(ctx context.Context, repository string, d digest.Digest, ask func(context.Context) error) bool {
	key := repository + "@" + d.String()
	if f.ProofTTL == 0 || f.fleet.following.group.Load() == nil || f.vouched.has(key) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, confirmPatience)
	defer cancel()
	err := ask(ctx)
	if err == nil {
		f.vouched.add(key, min(vouchedFor, f.ProofTTL))
	}
	return err == nil || unanswered(err)
}

// Blob implements mirror.Remote.
func (f *follower) Blob(ctx context.Context, repository string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	if f.may(repository, d) && f.confirmed(ctx, repository, d, func(ctx context.Context) error {
		_, err := f.Remote.HeadBlob(ctx, repository, d)
		return err
	}) {
		body, answered, err := follow(ctx, f, d.String(), func(p peers.Peer) (oci.BlobBody, error) {
			body, err := p.Blob(ctx, repository, d, offset, length)
			body.ReadCloser = &followedBody{body.ReadCloser, ctx, &f.fleet.following, p.ID() + d.String()}
			return body, err
		})
		if answered {
			if err == nil {
				f.fleet.following.served.add(d.String(), servedFor)
			}
			return body, f.noted(repository, err)
		}
	}
	body, err := f.Remote.Blob(ctx, repository, d, offset, length)
	return body, f.noted(repository, err)
}

// HeadBlob implements mirror.Remote.
func (f *follower) HeadBlob(ctx context.Context, repository string, d digest.Digest) (int64, error) {
	if f.ProofTTL == 0 && f.may(repository, d) {
		size, answered, err := follow(ctx, f, d.String(), func(p peers.Peer) (int64, error) { return p.HeadBlob(ctx, repository, d) })
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
		f.lacking.add(repository, lackingFor)
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
		mf, answered, err := follow(ctx, f, ref.Digest.String(), func(p peers.Peer) (oci.Manifest, error) {
			return p.Manifest(ctx, repository, ref.Digest)
		})
		if answered {
			return mf, err
		}
	}
	return f.Remote.Manifest(ctx, repository, ref)
}

// Resolve implements mirror.Remote.
func (f *follower) Resolve(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	if !ref.IsDigest() {
		return f.resolveTag(ctx, repository, ref, held)
	}
	if f.ProofTTL == 0 && f.may(repository, ref.Digest) {
		told, answered, err := follow(ctx, f, ref.Digest.String(), func(p peers.Peer) (peers.Told, error) { return p.Resolve(ctx, repository, ref) })
		if answered {
			return told.Descriptor, nil, err
		}
	}
	return f.Remote.Resolve(ctx, repository, ref, held)
}

var errOld = errors.New("the answer is too old")

// resolveTag asks the owner of a tag, whose answer counts as long as the upstream's own
// would. Where that cannot be asked, an older answer of the owner goes into the store, as
// something stale.
func (f *follower) resolveTag(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	var old *peers.Told
	told, answered, err := follow(ctx, f, f.Identity+"/"+repository+":"+ref.Tag, func(p peers.Peer) (peers.Told, error) {
		told, err := p.Resolve(ctx, repository, ref)
		switch {
		case err != nil || told.Within(f.TagTTL):
		case !told.Stale && f.ImmutableTags != nil && f.ImmutableTags.MatchString(ref.Tag):
		default:
			old, err = &told, errOld
		}
		return told, err
	})
	if answered {
		return oci.Aged(told.Descriptor, told.Age), nil, err
	}
	d, mf, err := f.askTag(ctx, repository, ref, held)
	if old != nil && old.Dated && unanswered(err) {
		f.keep(context.WithoutCancel(ctx), repository, ref.Tag, old)
	}
	return d, mf, err
}

// askTag asks the upstream what a tag means. Where only a manifest confirms that, and
// another gateway owns it, that one gets it.
func (f *follower) askTag(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	g := f.fleet.following.group.Load()
	if g == nil || held == nil {
		return f.Remote.Resolve(ctx, repository, ref, held)
	}
	var unseen atomic.Pointer[digest.Digest]
	d, mf, err := f.Remote.Resolve(ctx, repository, ref, func(d digest.Digest) bool {
		if held(d) {
			return true
		}
		owned := len(g.Before(d.String())) > 0
		if owned {
			unseen.Store(&d)
		}
		return owned
	})
	if told := unseen.Load(); err != nil || mf != nil || told == nil || *told != d.Digest {
		return d, mf, err
	}
	owned, answered, err := follow(ctx, f, d.Digest.String(), func(p peers.Peer) (oci.Manifest, error) { return p.Manifest(ctx, repository, d.Digest) })
	if !answered || err != nil {
		return f.Remote.Resolve(ctx, repository, ref, held)
	}
	return owned.Descriptor(), &owned, nil
}

// keep puts what a tag meant into the store, unless it is known here.
func (f *follower) keep(ctx context.Context, repository, tag string, told *peers.Told) {
	records, scope := f.fleet.local.Records, oci.Scope{Upstream: f.Identity, Repository: repository}
	if _, err := records.Tag(ctx, scope, tag); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	checked := time.Now().Add(-max(told.Age, f.TagTTL))
	err := records.PutTag(ctx, scope, tag, storage.Tag{
		Digest: told.Digest, MediaType: told.MediaType, Size: told.Size, Checked: checked, Changed: checked,
	})
	if err != nil {
		f.fleet.log.Debug("tag of another gateway not stored", "error", err)
	}
}

// following is what a Fleet has to do with other gateways.
type following struct {
	group atomic.Pointer[peers.Group] // nil = there are none
	// avoided are the digests that nobody is asked for, and, after their ids, those that
	// one member is not; served are those of which something has come.
	avoided, served recent
}

// filled is told how the download of a blob has ended: what others have sent may have been
// wrong.
func (f *following) filled(d digest.Digest, class oci.Class) {
	if f.served.drop(d.String()) && (class == oci.ClassDigest || class == oci.ClassLength) {
		f.avoided.add(d.String(), distrustPeersFor)
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
		b.from.avoided.add(b.key, avoidPeersFor)
	}
	return n, err
}
