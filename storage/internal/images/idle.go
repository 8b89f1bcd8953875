package images

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// IdleBlob is a blob that was not used for long, beside others.
type IdleBlob struct {
	Bytes int64
	Used  time.Time // stored, or the end of the hour of its last use
	// Scopes are those that have it; none has what is no image's any more.
	Scopes []oci.Scope

	id volume.ID
}

// Idle returns the n blobs that were used least recently, in this order, except what is
// pinned: those that go first when room is needed, as far as no upstream has a limit of its
// own. pinned are the bytes of all blobs that are.
func (p *Pinning) Idle(ctx context.Context, n int) (blobs []IdleBlob, pinned int64, err error) {
	err = p.life.Task(ctx, func(ctx context.Context) error {
		return p.index.View(func(txn *index.Txn) error {
			if blobs, pinned, err = p.idle(ctx, txn, n); err != nil {
				return err
			}
			return owners(ctx, txn, blobs)
		})
	})
	if err != nil {
		return nil, 0, fmt.Errorf("look for idle blobs: %w", err)
	}
	return blobs, pinned, nil
}

func (p *Pinning) idle(ctx context.Context, txn *index.Txn, n int) (blobs []IdleBlob, bytes int64, err error) {
	pinned, err := p.Resolve(ctx, txn)
	if err != nil {
		return nil, 0, err
	}
	earlier := func(a, b IdleBlob) int { return a.Used.Compare(b.Used) }
	err = txn.Blobs(ctx, func(i volume.ID, r index.Blob, used index.Use) error {
		b := IdleBlob{Bytes: r.Size, Used: r.Created, id: i}
		if used != 0 && used.End().After(b.Used) {
			b.Used = used.End()
		}
		if pinned.Has(i) {
			bytes += r.Size
			return nil
		}
		if len(blobs) == n && !b.Used.Before(blobs[n-1].Used) {
			return nil
		}
		at, _ := slices.BinarySearchFunc(blobs, b, earlier)
		blobs = slices.Insert(blobs, at, b)
		blobs = blobs[:min(len(blobs), n)]
		return nil
	})
	return blobs, bytes, err
}

// owners adds the scopes that have the blobs.
func owners(ctx context.Context, txn *index.Txn, blobs []IdleBlob) error {
	scopes, err := txn.Scopes(ctx, oci.Selection{})
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		for i := range blobs {
			key, err := index.ScopedKey(index.TableLink, scope, blobs[i].id)
			if err == nil && txn.Has(key) {
				blobs[i].Scopes = append(blobs[i].Scopes, scope)
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}
