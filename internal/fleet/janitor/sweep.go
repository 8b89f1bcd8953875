package janitor

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	objects "github.com/pullgate/pullgate/internal/bucket"
)

// deleters is how many objects are deleted at a time.
const deleters = 16

// sweepBatch is how many objects go between two looks at what is used right now.
const sweepBatch = 1000

// oldest is which blobs go: what was used before an hour, and of what was used in it, some.
type oldest struct {
	hours map[uint32]int64 // bytes by the hour of their last use

	unnamed, unnamedBytes int64
	// mayGo is how many that are unnamed may go, and share how many bytes of those that were
	// last used in hour.
	mayGo int64
	hour  uint32
	share int64
	short bool // not enough may go
}

// decide decides on what was counted.
func (o *oldest) decide(r Report, l Limits, unusedSince uint32) {
	o.mayGo = min(o.unnamed, max(r.Blobs/carefulShare, carefulLeast))
	var unused, all int64
	for hour, bytes := range o.hours {
		all += bytes
		if hour < unusedSince {
			unused += bytes
		}
	}
	need := min(unused, max(r.Bytes/carefulShare, 1))
	if l.MaxSize > 0 && r.Bytes-o.unnamedBytes > l.MaxSize {
		need = max(need, r.Bytes-o.unnamedBytes-l.MaxSize+l.MaxSize/50)
	}
	o.short = l.MaxSize > 0 && r.Bytes-o.unnamedBytes-all > l.MaxSize
	for _, hour := range slices.Sorted(maps.Keys(o.hours)) {
		if need <= 0 {
			return
		}
		o.hour, o.share = hour, need
		need -= o.hours[hour]
	}
}

// takes decides on one blob. It is asked once for each.
func (o *oldest) takes(hour uint32, size int64) bool {
	if hour == o.hour && o.share > 0 {
		o.share -= size
		return true
	}
	return hour < o.hour
}

// candidate is an object that is to go, unless it is used first.
type candidate struct {
	key  string
	id   useID
	size int64
}

// sweep removes those objects of a folder that are to go.
func (c *cleaning) sweep(ctx context.Context, folder string, goes func(useID, objects.Info) bool, gone func(candidate)) error {
	var some []candidate
	flush := func() error {
		if err := c.readLists(ctx, c.In.Uses+hourName(c.hour-1)); err != nil {
			return err
		}
		some = slices.DeleteFunc(some, func(o candidate) bool { return c.uses[o.id].hour >= c.hour })
		keys := make([]string, 0, len(some))
		for _, o := range some {
			keys = append(keys, o.key)
		}
		if err := c.remove(ctx, keys); err != nil {
			return err
		}
		for _, o := range some {
			gone(o)
		}
		some = some[:0]
		return nil
	}
	err := c.each(ctx, folder, "", func(o objects.Info) error {
		id, ok := useOf(o.Key)
		if !ok || !goes(id, o) {
			return nil
		}
		if some = append(some, candidate{o.Key, id, o.Size}); len(some) < sweepBatch {
			return nil
		}
		return flush()
	})
	if err != nil || len(some) == 0 {
		return err
	}
	return flush()
}

// remove deletes objects.
func (c *cleaning) remove(ctx context.Context, keys []string) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(deleters)
	for _, key := range keys {
		group.Go(func() error {
			c.Gone(key)
			ctx, cancel := context.WithTimeout(ctx, putBudget)
			defer cancel()
			return c.Objects.Delete(ctx, key)
		})
	}
	return group.Wait()
}

// gone notes that a blob or manifest went.
func (c *cleaning) gone(o candidate) {
	u := c.uses[o.id]
	u.flags &^= present
	c.uses[o.id] = u
	c.report.Removed++
	c.report.RemovedBytes += o.size
	c.removed.Add(1)
	c.bytes.Add(o.size)
}

// removeBlobs removes blobs that no proof names, and those that were not used for too long,
// or for the longest.
func (c *cleaning) removeBlobs(ctx context.Context) error {
	c.report.Over = c.blobs.short
	if c.blobs.mayGo == 0 && c.blobs.share == 0 {
		return nil
	}
	return c.sweep(ctx, c.In.Blobs, func(id useID, o objects.Info) bool {
		switch {
		case c.uses[id].flags&pinned != 0:
			return false
		case c.unnamed(id, o):
			c.blobs.mayGo--
			return c.blobs.mayGo >= 0
		}
		return c.blobs.takes(c.lastUse(id, o), o.Size)
	}, func(o candidate) {
		c.gone(o)
		c.report.Blobs--
		c.report.Bytes -= o.size
	})
}

// removeManifests removes manifests that no proof names, or nobody used for too long.
func (c *cleaning) removeManifests(ctx context.Context) error {
	since, mayGo := c.unusedSince(), max(c.report.Manifests/carefulShare, carefulLeast)
	return c.sweep(ctx, c.In.Manifests, func(id useID, o objects.Info) bool {
		if c.uses[id].flags&pinned != 0 || !c.unnamed(id, o) && c.lastUse(id, o) >= since {
			return false
		}
		mayGo--
		return mayGo >= 0
	}, func(o candidate) {
		c.gone(o)
		c.report.Manifests--
	})
}

// removeProofs removes proofs of what is not there any more: whoever pulls it again proves
// it again.
func (c *cleaning) removeProofs(ctx context.Context) error {
	c.report.Proofs = c.proofs
	none := true
	for _, u := range c.uses {
		none = none && (u.flags&(named|present) != named)
	}
	if none {
		return nil
	}
	mayGo := max(c.proofs/carefulShare, carefulLeast)
	var went atomic.Int64
	err := c.sweep(ctx, c.In.Proofs, func(id useID, o objects.Info) bool {
		if c.uses[id].flags&(present|pinned) != 0 || c.report.Begun.Sub(o.Modified) <= unnamedFor {
			return false
		}
		mayGo--
		return mayGo >= 0
	}, func(candidate) { went.Add(1) })
	c.report.Proofs -= went.Load()
	return err
}
