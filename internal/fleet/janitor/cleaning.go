package fleet

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
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
	fleet  *Fleet
	depot  *depot
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
func (c *cleaning) each(ctx context.Context, folder, after string, fn func(bucket.Info) error) error {
	for o, err := range c.depot.objects.List(ctx, folder, after) {
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
	raw, err := c.open(ctx, baseAt)
	if err != nil || raw == nil {
		return gone(err)
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

func (c *cleaning) open(ctx context.Context, key string) (io.ReadCloser, error) {
	c.depot.counts.reads.Add(1)
	o, err := c.depot.objects.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, gone(err)
	}
	return o.ReadCloser, nil
}

// readLists reads those lists of uses after a key that are new, or have changed.
func (c *cleaning) readLists(ctx context.Context, after string) error {
	return c.each(ctx, usesAt, after, func(o bucket.Info) error {
		hour, ok := usesHourOf(o.Key)
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

// usesHourOf returns the hour of a list of uses.
func usesHourOf(key string) (hour uint32, ok bool) {
	text, _, ok := strings.Cut(strings.TrimPrefix(key, usesAt), "-")
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		hour = hour*10 + uint32(c-'0')
	}
	return hour, ok && text != ""
}

// listProofs finds out what proofs name.
func (c *cleaning) listProofs(ctx context.Context) error {
	return c.each(ctx, proofsAt, "", func(o bucket.Info) error {
		if id, ok := useOf(o.Key); ok {
			c.flag(id, named)
			c.proofs++
		}
		return nil
	})
}

// resolvePins finds out what pins mean, of this gateway and of all.
func (c *cleaning) resolvePins(ctx context.Context) error {
	if err := c.depot.pins.compare(ctx); err != nil {
		return err
	}
	stored, err := c.fleet.local.Store.Pins(ctx)
	if err != nil {
		return err
	}
	pins, roots := slices.Clone(c.fleet.local.Store.Limits().Pins), map[digest.Digest]bool{}
	for _, one := range stored {
		pins = append(pins, one.Pin)
	}
	upstreams := map[string][]oci.Pin{}
	for _, pin := range pins {
		if pin.Digest != "" {
			roots[pin.Digest] = true
		} else {
			upstreams[pin.Upstream] = append(upstreams[pin.Upstream], pin)
		}
	}
	for name, pins := range upstreams {
		for _, end := range []string{"/", "~"} {
			err := c.each(ctx, tagsAt+name+end, "", func(o bucket.Info) error {
				scope, tag, ok := scopeOf(o.Key, tagsAt)
				if !ok || !slices.ContainsFunc(pins, func(p oci.Pin) bool { return p.Match(scope, tag) }) {
					return nil
				}
				var t sharedTag
				_, err := writer{c.depot, c.fleet}.read(ctx, o.Key, &t)
				if _, wrong := oci.ParseDigest(t.Digest.String()); err == nil && wrong == nil {
					roots[t.Digest] = true
				}
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	images := forest{read: c.depot.contents}
	means, err := images.walk(ctx, roots)
	for d := range means {
		if id, ok := useOf(d.String()); ok {
			c.flag(id, pinned)
		}
	}
	return err
}

// lastUse returns the hour in which an object was last used, or written.
func (c *cleaning) lastUse(id useID, o bucket.Info) uint32 {
	return max(c.uses[id].hour, hourOf(o.Modified))
}

// unnamed reports whether no proof names an object for long enough.
func (c *cleaning) unnamed(id useID, o bucket.Info) bool {
	return c.uses[id].flags&(named|pinned) == 0 && c.proofs > 0 && c.report.Begun.Sub(o.Modified) > unnamedFor
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
	err := c.each(ctx, blobsAt, "", func(o bucket.Info) error {
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
	return c.each(ctx, manifestAt, "", func(o bucket.Info) error {
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
	return c.depot.put(ctx, baseAt, bytes.NewReader(raw), int64(len(raw)), bucket.PutOptions{ContentType: untyped})
}

// removeLists removes the lists of uses that the base has now, and purges that every
// gateway has seen, or has to start anew.
func (c *cleaning) removeLists(ctx context.Context) error {
	var old []string
	for key := range c.lists {
		// The last hour may still be written.
		if hour, _ := usesHourOf(key); hour+2 <= c.hour {
			old = append(old, key)
		}
	}
	err := c.each(ctx, purgesAt, "", func(o bucket.Info) error {
		if c.report.Begun.Sub(purgeTime(strings.TrimPrefix(o.Key, purgesAt))) > keepPurges+24*time.Hour {
			old = append(old, o.Key)
		}
		return nil
	})
	return errors.Join(err, c.remove(ctx, old))
}
