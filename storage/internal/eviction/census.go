package eviction

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// CountStep is how many blobs are counted before others hear of it.
const CountStep = 1000

// Census counts the blobs that were there when the index was opened.
type Census struct {
	ledger  *volume.Ledger
	log     *slog.Logger
	Counted int64 // how many of them the ledger has
	Done    atomic.Bool
}

// NewCensus returns a census that tells a ledger of what it counts.
func NewCensus(ledger *volume.Ledger, log *slog.Logger) *Census {
	return &Census{ledger: ledger, log: log}
}

// Count counts them.
func (c *Census) Count(ctx context.Context, opened *index.Txn) {
	var t volume.Tally
	// A panic leaves the transaction to the next try, which goes on where this one
	// has told others of what it had.
	skip := c.Counted
	err := opened.Blobs(ctx, func(_ volume.ID, r index.Blob, _ index.Use) error {
		if skip > 0 {
			skip--
			return nil
		}
		if t.Add(r.Origin, r.Size, 1); t.Blobs == CountStep {
			c.ledger.Add(t)
			c.Counted += t.Blobs
			t = volume.Tally{}
		}
		return nil
	})
	opened.Discard()
	c.ledger.Add(t)
	if err == nil {
		c.Done.Store(true)
	} else if ctx.Err() == nil {
		c.log.Error("count blobs", "error", err)
	}
}
