package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Link is the record that a digest belongs to a scope.
type Link = index.Link

// Linked returns the link of a digest to a scope, or fs.ErrNotExist.
func (r *Records) Linked(ctx context.Context, scope oci.Scope, d digest.Digest) (Link, error) {
	l, err := r.linked(ctx, scope, d)
	if err != nil {
		return Link{}, fmt.Errorf("get link of %s to %s: %w", d, scope, err)
	}
	if l.Proven && l.Proved.IsZero() { // from before that was recorded
		l.Proved = l.Made.End()
	}
	return l.Link, nil
}

func (r *Records) linked(ctx context.Context, scope oci.Scope, d digest.Digest) (index.LinkRecord, error) {
	var buffer [index.KeyBytes]byte
	prefix := index.AppendScope(buffer[:0], index.TableLink, scope)
	key, err := volume.AppendID(prefix, d)
	if err != nil {
		return index.LinkRecord{}, err
	}
	read := func() ([]byte, error) {
		key, err := linkKey(scope, d)
		if err != nil {
			return nil, err
		}
		return r.read(ctx, key)
	}
	return index.Recall(r.index.Records, key, read, index.DecodeLink)
}

func linkKey(scope oci.Scope, d digest.Digest) ([]byte, error) {
	i, err := volume.IDOf(d)
	if err != nil {
		return nil, err
	}
	return index.ScopedKey(index.TableLink, scope, i)
}

// Link links descriptors that the scope's upstream has shown to have, in one
// transaction: by delivering the bytes, or by a proof. What it shows opens nothing to
// other upstreams. A size of -1 does not replace one that is known.
func (r *Records) Link(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return r.link(ctx, scope, ds, index.LinkTo{LinkRecord: index.LinkRecord{Link: Link{Proven: true}}})
}

// LinkOpen is Link for what other upstreams may prove to have, too.
func (r *Records) LinkOpen(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return r.link(ctx, scope, ds, index.LinkTo{Open: true, LinkRecord: index.LinkRecord{Link: Link{Proven: true}}})
}

// Claim links descriptors that the scope's upstream merely speaks of. It opens nothing,
// and changes no size that is proven.
func (r *Records) Claim(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error {
	return r.link(ctx, scope, ds, index.LinkTo{})
}

// Resize corrects the size of a link, which says no more than before otherwise.
func (r *Records) Resize(ctx context.Context, scope oci.Scope, d oci.Descriptor) error {
	return r.amend(ctx, scope, d.Digest, func(l *index.LinkRecord) { l.Size = d.Size })
}

// Refute ends what was proven of a digest for a scope: its upstream says that it is not
// there any more. Others keep what they have shown.
func (r *Records) Refute(ctx context.Context, scope oci.Scope, d digest.Digest) error {
	return r.amend(ctx, scope, d, func(l *index.LinkRecord) { l.Proven, l.Proved = false, time.Time{} })
}

// amend changes a link that is there.
func (r *Records) amend(ctx context.Context, scope oci.Scope, d digest.Digest, change func(*index.LinkRecord)) error {
	key, err := linkKey(scope, d)
	if err == nil {
		err = r.write(ctx, index.LinkBytes, func(b *index.Batch) error {
			raw, err := b.Get(key)
			if err != nil {
				return err
			}
			l, ok := index.DecodeLink(raw)
			if !ok {
				return nil
			}
			change(&l)
			return b.Set(key, l.Encode())
		})
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("amend link of %s to %s: %w", d, scope, err)
	}
	return nil
}

func (r *Records) link(ctx context.Context, scope oci.Scope, ds []oci.Descriptor, as index.LinkTo) error {
	links, err := index.LinksTo(ds, as, r.now())
	if err == nil {
		err = r.write(ctx, len(ds)*index.LinkBytes, func(b *index.Batch) error { return b.LinkAll(scope, links) })
	}
	if err != nil {
		return fmt.Errorf("link to %s: %w", scope, err)
	}
	return nil
}
