package fill

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/pace"
)

// Downloads is what the fills of one cache share. The exported functions are fixed
// before the first fill. Safe for concurrent use.
type Downloads struct {
	// Now is the clock, and After what waits by it.
	Now   func() time.Time
	After func(time.Duration) <-chan time.Time
	// Panicked is called when a fill panics, which ends that one with an error.
	Panicked func()
	// SizePatience is how long a client's header waits for the size that the upstream
	// tells. Then the size that was expected has to do: clients give up after some 30 s
	// without a header.
	SizePatience time.Duration
	// Processors is how many the fills share.
	Processors int64

	Uplinks pace.Uplinks

	crowds  pace.Crowds
	slots   pace.Limiter[string] // by upstream
	running atomic.Int64         // fills that have a slot
}

// Queued counts fills that wait for others of their upstream.
func (d *Downloads) Queued() int {
	_, waiting := d.slots.Count()
	return waiting
}

// Enter waits for a place among the downloads of an upstream, of which there are so many
// at a time; 0 = any number. leave gives it back.
func (d *Downloads) Enter(ctx context.Context, upstream string, most int) (leave func(), err error) {
	if err := d.slots.Enter(ctx, upstream, most); err != nil {
		return nil, err
	}
	return func() { d.slots.Leave(upstream) }, nil
}

// busy reports whether there are as many downloads as processors.
func (d *Downloads) busy() bool { return d.running.Load() >= d.Processors }

// sleep reports false if ctx ends first.
func (d *Downloads) sleep(ctx context.Context, pause time.Duration) bool {
	select {
	case <-d.After(pause):
		return true
	case <-ctx.Done():
		return false
	}
}
