package storage

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// countStep is how many blobs are counted before others hear of it.
const countStep = 1000

// census counts the blobs that were there when the index was opened.
type census struct {
	ledger  *volume.Ledger
	log     *slog.Logger
	counted int64 // how many of them the ledger has
	done    atomic.Bool
}

// count counts them.
func (c *census) count(ctx context.Context, opened *index.Txn) {
	var t volume.Tally
	// A panic leaves the transaction to the next try, which goes on where this one
	// has told others of what it had.
	skip := c.counted
	err := opened.Blobs(ctx, func(_ volume.ID, r index.Blob, _ index.Use) error {
		if skip > 0 {
			skip--
			return nil
		}
		if t.Add(r.Origin, r.Size, 1); t.Blobs == countStep {
			c.ledger.Add(t)
			c.counted += t.Blobs
			t = volume.Tally{}
		}
		return nil
	})
	opened.Discard()
	c.ledger.Add(t)
	if err == nil {
		c.done.Store(true)
	} else if ctx.Err() == nil {
		c.log.Error("count blobs", "error", err)
	}
}
