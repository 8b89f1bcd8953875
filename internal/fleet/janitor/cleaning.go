package janitor

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	objects "github.com/pullgate/pullgate/internal/bucket"
)

// usage is what a cleaning knows of an object.
type usage struct {
	hour  uint32 // of the last use
	flags uint8
}

const (
	named   = 1 << iota // a proof names it
	pinned              // a pin means it
	present             // it is in the bucket
)

// cleaning is one that runs: some 40 bytes for each object of the bucket.
type cleaning struct {
	*Janitor

	limits Limits
	hour   uint32 // in which it began

	uses map[useID]usage
	// lists are the lists of uses that were read, and their ETags.
	lists  map[string]string
	blobs  oldest
	proofs int64 // how many there are

	report Report
	step   atomic.Pointer[string]
	seen   atomic.Int64
}

// each calls fn for the objects of a folder.
func (c *cleaning) each(ctx context.Context, folder, after string, fn func(objects.Info) error) error {
	for o, err := range c.Objects.List(ctx, folder, after) {
		if err == nil {
			c.seen.Add(1)
			err = fn(o)
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// flag notes something of an id.
func (c *cleaning) flag(id useID, flag uint8) {
	u := c.uses[id]
	u.flags |= flag
	c.uses[id] = u
}

// used notes a use.
func (c *cleaning) used(id useID, hour uint32) {
	u := c.uses[id]
	u.hour = max(u.hour, hour)
	c.uses[id] = u
}

// readUses reads when what was used: first the lists, since another cleaning writes the
// base before it removes them.
func (c *cleaning) readUses(ctx context.Context) error {
	if err := c.readLists(ctx, ""); err != nil {
		return err
	}
	raw, err := c.open(ctx, c.In.Base)
	if err != nil || raw == nil {
		return err
	}
	defer raw.Close()
	var record [12]byte
	for r := bufio.NewReader(raw); ; {
		if _, err := io.ReadFull(r, record[:]); err != nil {
			return whole(err)
		}
		c.used(useID(binary.BigEndian.Uint64(record[:8])), binary.BigEndian.Uint32(record[8:]))
	}
}

// whole returns nil for the end of a list, wherever it is.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// readLists reads those lists of uses after a key that are new, or have changed.
func (c *cleaning) readLists(ctx context.Context, after string) error {
	return c.each(ctx, c.In.Uses, after, func(o objects.Info) error {
		hour, ok := c.hourOfList(o.Key)
		if !ok || c.lists[o.Key] == o.ETag+o.Modified.String() {
			return nil
		}
		raw, err := c.open(ctx, o.Key)
		if err != nil || raw == nil {
			return err
		}
		defer raw.Close()
		var id [8]byte
		for r := bufio.NewReader(raw); ; {
			if _, err := io.ReadFull(r, id[:]); err != nil {
				if err = whole(err); err == nil {
					c.lists[o.Key] = o.ETag + o.Modified.String()
				}
				return err
			}
			c.used(useID(binary.BigEndian.Uint64(id[:])), hour)
		}
	})
}

// hourOfList returns the hour of a list of uses.
func (c *cleaning) hourOfList(key string) (hour uint32, ok bool) {
	text, _, ok := strings.Cut(strings.TrimPrefix(key, c.In.Uses), "-")
	for _, n := range []byte(text) {
		if n < '0' || n > '9' {
			return 0, false
		}
		hour = hour*10 + uint32(n-'0')
	}
	return hour, ok && text != ""
}

// listProofs finds out what proofs name.
func (c *cleaning) listProofs(ctx context.Context) error {
	return c.each(ctx, c.In.Proofs, "", func(o objects.Info) error {
		if id, ok := useOf(o.Key); ok {
			c.flag(id, named)
			c.proofs++
		}
		return nil
	})
}

// resolvePins finds out what is pinned.
func (c *cleaning) resolvePins(ctx context.Context) error {
	means, err := c.Pinned(ctx)
	for d := range means {
		if id, ok := useOf(d.String()); ok {
			c.flag(id, pinned)
		}
	}
	return err
}

// lastUse returns the hour in which an object was last used, or written.
func (c *cleaning) lastUse(id useID, o objects.Info) uint32 {
	return max(c.uses[id].hour, hourOf(o.Modified))
}

// unnamed reports whether no proof names an object for long enough.
func (c *cleaning) unnamed(id useID, o objects.Info) bool {
	return c.uses[id].flags&(named|pinned) == 0 && c.proofs > 0 && !o.Modified.IsZero() && c.report.Begun.Sub(o.Modified) > unnamedFor
}

// unusedSince returns the hour before which nothing was used that goes for that.
func (c *cleaning) unusedSince() uint32 {
	if c.limits.MaxUnused <= 0 {
		return 0
	}
	return hourOf(c.report.Begun.Add(-c.limits.MaxUnused))
}

// listBlobs finds out how much there is, and how long ago it was used.
func (c *cleaning) listBlobs(ctx context.Context) error {
	c.blobs = oldest{hours: map[uint32]int64{}}
	err := c.each(ctx, c.In.Blobs, "", func(o objects.Info) error {
		id, ok := useOf(o.Key)
		if !ok {
			return nil
		}
		c.flag(id, present)
		c.report.Blobs++
		c.report.Bytes += o.Size
		switch {
		case c.uses[id].flags&pinned != 0:
			c.report.PinnedBytes += o.Size
		case c.unnamed(id, o):
			c.blobs.unnamed++
			c.blobs.unnamedBytes += o.Size
		default:
			c.blobs.hours[c.lastUse(id, o)] += o.Size
		}
		return nil
	})
	c.blobs.decide(c.report, c.limits, c.unusedSince())
	return err
}

// listManifests notes what manifests there are.
func (c *cleaning) listManifests(ctx context.Context) error {
	return c.each(ctx, c.In.Manifests, "", func(o objects.Info) error {
		if id, ok := useOf(o.Key); ok {
			c.flag(id, present)
			c.report.Manifests++
		}
		return nil
	})
}

// writeBase writes down all uses in one list: of what there is.
func (c *cleaning) writeBase(ctx context.Context) error {
	maps.DeleteFunc(c.uses, func(_ useID, u usage) bool { return u.flags&present == 0 || u.hour == 0 })
	raw := make([]byte, 0, 12*len(c.uses))
	for _, id := range slices.Sorted(maps.Keys(c.uses)) {
		raw = binary.BigEndian.AppendUint64(raw, uint64(id))
		raw = binary.BigEndian.AppendUint32(raw, c.uses[id].hour)
	}
	return c.put(ctx, c.In.Base, raw)
}

// removeLists removes the lists of uses that the base has now, and purges that every
// gateway has seen, or has to start anew.
func (c *cleaning) removeLists(ctx context.Context) error {
	var old []string
	for key := range c.lists {
		// The last hour may still be written.
		if hour, _ := c.hourOfList(key); hour+2 <= c.hour {
			old = append(old, key)
		}
	}
	var purges []string
	err := c.each(ctx, c.In.Purges, "", func(o objects.Info) error {
		if !o.Modified.IsZero() && c.report.Begun.Sub(o.Modified) > KeepPurges+24*time.Hour {
			purges = append(purges, o.Key)
		}
		return nil
	})
	if err == nil && len(purges) > 0 {
		err = c.Expire(ctx, purges)
	}
	if err == nil {
		old = append(old, purges...)
	}
	return errors.Join(err, c.remove(ctx, old))
}
