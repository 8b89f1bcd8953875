package fleet

import (
	"context"
	"errors"
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

var errOld = errors.New("the answer is too old")

// resolveTag asks the owner of a tag, whose answer counts as long as the upstream's own
// would. Where that cannot be asked, an older answer of the owner goes into the store, as
// something stale.
func (f *follower) resolveTag(ctx context.Context, repository string, ref oci.Reference, held func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	var old *peers.Told
	told, answered, err := follow(ctx, f, repository, ref, func(p peers.Peer) (peers.Told, error) {
		told, err := f.peerTag(ctx, p, repository, ref)
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

// peerTag asks another gateway what a tag means. Either that or the tag may have been purged.
func (f *follower) peerTag(ctx context.Context, p peers.Peer, repository string, ref oci.Reference) (peers.Told, error) {
	told, err := p.Resolve(ctx, repository, ref)
	if err != nil {
		return told, err
	}
	d := told.Digest
	if after := f.purged(repository, oci.Reference{Digest: d}); after > p.Purge {
		p.Purge = after
		if told, err = p.Resolve(ctx, repository, ref); err == nil && told.Digest != d {
			err = errOld // it moves right now
		}
	}
	return told, err
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
	owned, answered, err := f.followManifest(ctx, repository, d.Digest)
	if !answered || err != nil {
		return f.Remote.Resolve(ctx, repository, ref, held)
	}
	return owned.Descriptor(), &owned, nil
}

// keep puts what a tag meant into the store, unless it is known here.
func (f *follower) keep(ctx context.Context, repository, tag string, told *peers.Told) {
	scope := f.scope(repository)
	if _, err := f.fleet.Records().Tag(ctx, scope, tag); !errors.Is(err, fs.ErrNotExist) {
		return
	}
	if depot := f.fleet.depot.Load(); depot != nil {
		depot.confirmTag(scope, tag)
	}
	checked := time.Now().Add(-max(told.Age, f.TagTTL))
	err := f.fleet.local.Records.PutTag(ctx, scope, tag, storage.Tag{
		Digest: told.Digest, MediaType: told.MediaType, Size: told.Size, Checked: checked, Changed: checked,
	})
	if err != nil {
		f.fleet.log.Debug("tag of another gateway not stored", "error", err)
	}
}
