package storage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// checkWorkers is how many directories of blobs are looked at together.
	checkWorkers = 4
	// checkTold is how often progress is told.
	checkTold = 100 * time.Millisecond
)

// CheckOptions say how thorough a check is and what it does about what it finds.
// The zero value looks at everything but the bytes of blobs, and changes nothing.
type CheckOptions struct {
	// Verify reads every blob and compares it with its digest. Without it, a blob
	// is compared with its record only.
	Verify bool
	// Rate is the most bytes of blobs to read per second; 0 = no limit.
	Rate int64
	// Repair mends what is found, as each kind of finding says.
	Repair bool
	// Progress, if not nil, is called up to ten times a second, and at the end,
	// by one goroutine at a time. The check waits for it.
	Progress func(CheckProgress)
}

// CheckProgress is how far a check of the blobs got.
type CheckProgress struct {
	Blobs int64 `json:"blobs"`
	// Bytes are those of the blobs that are done, and what was read of others.
	Bytes int64 `json:"bytes"`
	// TotalBlobs and TotalBytes are what there is to do, as far as it is known.
	TotalBlobs int64 `json:"total_blobs"`
	TotalBytes int64 `json:"total_bytes"`
}

// Check looks for what is not as it should be in the whole store, and mends it
// if told to. The store works on meanwhile, and what changes under the check is
// no finding. It stops when ctx is done or the store closed, with that error and
// what it found so far; a store that cannot be read is an error, too. It may be
// called any number of times at once, to no use.
//
// What is missing is no damage: neither a blob, a manifest or a snapshot that
// is not here, nor a tag or link that leads to one.
func (s *Store) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	rate := o.Rate
	if rate <= 0 {
		rate = -1
	}
	c := &checker{store: s, CheckOptions: o, pace: newPace(rate)}
	c.report.Verify, c.report.Repair = o.Verify, o.Repair
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.life, func() { cancel(ErrClosed) })
	defer stop()
	err := c.run(ctx)
	c.tell(true)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		err = fmt.Errorf("check storage %s: %w", s.path, err)
	}
	c.report.sort()
	return c.report, err
}

// checker is a Check that runs.
type checker struct {
	CheckOptions
	store *Store
	pace  *Pace
	// indexed says that what the index does not know is not known.
	indexed bool

	mu     sync.Mutex
	report CheckReport
	done   CheckProgress
	told   time.Time
}

func (c *checker) run(ctx context.Context) error {
	if err := c.index(ctx); err != nil {
		return err
	}
	plan, err := c.plan(ctx)
	if err == nil && c.Verify {
		err = c.eachShard(ctx, plan, c.count)
	}
	if err == nil {
		err = c.eachShard(ctx, plan, c.shard)
	}
	if err == nil && c.indexed {
		err = c.tables(ctx)
	}
	if err == nil {
		err = c.leftovers(ctx)
	}
	return err
}

// eachShard calls fn for directories of blobs, a few at a time.
func (c *checker) eachShard(ctx context.Context, plan []shard, fn func(context.Context, shard) error) error {
	todo := make(chan shard)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(todo)
		for _, one := range plan {
			select {
			case todo <- one:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range checkWorkers {
		group.Go(func() error {
			for one := range todo {
				if err := c.store.guard("check blobs", func() error { return fn(ctx, one) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// within calls fn within the life of the store.
func (c *checker) within(fn func() error) error {
	if err := c.store.enter(context.Background()); err != nil {
		return err
	}
	defer c.store.leave()
	return fn()
}

// note adds to the report.
func (c *checker) note(change func(*CheckReport)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.report)
}

// found reports a finding, and mends it by calling mend, if that is wanted. done
// says what mend does; it returns errNotOdd if there is nothing to mend any more,
// and then nothing was found either.
func (c *checker) found(f Finding, done string, mend func() error) {
	if c.Repair {
		switch err := mend(); {
		case err == nil:
			f.Done = done
		case errors.Is(err, errNotOdd):
			return
		default:
			f.Reason += "; not mended: " + err.Error()
			c.store.log.Error("finding of a check not mended", "kind", f.Kind, "name", f.Name, "digest", f.Digest, "error", err)
		}
	}
	c.note(func(r *CheckReport) { r.add(f) })
}

// errNotOdd means that what looked like a finding is none (any more).
var errNotOdd = errors.New("in order")

// advance counts what is done.
func (c *checker) advance(blobs, bytes int64) {
	c.mu.Lock()
	c.done.Blobs += blobs
	c.done.Bytes += bytes
	c.done.TotalBlobs = max(c.done.TotalBlobs, c.done.Blobs)
	c.done.TotalBytes = max(c.done.TotalBytes, c.done.Bytes)
	c.mu.Unlock()
	c.tell(false)
}

// tell tells the progress, if it is time to.
func (c *checker) tell(always bool) {
	if c.Progress == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); always || now.Sub(c.told) >= checkTold {
		c.told = now
		c.Progress(c.done)
	}
}
