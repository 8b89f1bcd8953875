package eviction

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ranks are bytes by rank; see decision.rank.
type ranks map[int64]int64

// cut is a place in the order of the ranks: what was used before rank goes, and
// of what is at rank as much as share bytes. The zero value is of no use.
type cut struct{ rank, share int64 }

// cutOf returns the cut that takes the excess, or all there is.
func cutOf(r ranks, excess int64) cut {
	c := cut{rank: math.MinInt64}
	if excess <= 0 {
		return c
	}
	c.share = excess
	for _, rank := range slices.Sorted(maps.Keys(r)) {
		if c.rank = rank; r[rank] >= c.share {
			break
		}
		c.share -= r[rank]
	}
	return c
}

// apply takes from the ranks what the cut will take from the blobs, and returns
// how much.
func (c cut) apply(r ranks) (taken int64) {
	for rank, bytes := range r {
		switch {
		case rank < c.rank:
		case rank == c.rank:
			bytes = min(bytes, c.share)
		default:
			continue
		}
		r[rank] -= bytes
		taken += bytes
	}
	return taken
}

// takes decides on one blob. It is asked once for each.
func (c *cut) takes(rank, size int64) bool {
	if rank == c.rank && c.share > 0 {
		c.share -= size
		return true
	}
	return rank < c.rank
}

// decision is which blobs go: of those that nobody used since unused as many as
// may go for that at once, of each upstream that has too many the oldest, and of
// all the oldest until there is room. What is pinned or open stays.
type decision struct {
	now    time.Time
	demand Demand
	// withdrawn is usage.withdrawn as of the demand.
	withdrawn int64
	unused    time.Time // zero = nothing goes merely because it is old
	pins      images.Set
	inUse     func(volume.ID) bool
	from      time.Time // what was recorded before stays

	old       cut
	upstreams map[string]*cut
	all       cut

	// What was found to be pinned, and the bytes of what is open.
	pinned volume.Tally
	busy   int64
}

// unusedShare is the part of all bytes that one decision may take because nobody
// used them: one that is wrong must not cost everything.
const unusedShare = 4

// decide makes the first scan.
func (d *decision) decide(ctx context.Context, txn *index.Txn) error {
	var total, unused int64
	old, all, upstreams := ranks{}, ranks{}, map[string]ranks{}
	for name := range d.demand.upstreams {
		upstreams[name] = ranks{}
	}
	err := txn.Blobs(ctx, func(i volume.ID, r index.Blob, used index.Use) error {
		total += r.Size
		switch {
		case d.pins.Has(i):
			d.pinned.Add(r.Origin, r.Size, 1)
			return nil
		case r.Created.Before(d.from):
			return nil
		case d.inUse(i):
			d.busy += r.Size
			return nil
		}
		last := lastUse(r, used)
		rank := d.rank(last)
		if last.Before(d.unused) {
			unused += r.Size
			old[rank] += r.Size
		}
		if own, ok := upstreams[oci.UpstreamName(r.Origin)]; ok {
			own[rank] += r.Size
		} else {
			all[rank] += r.Size
		}
		return nil
	})
	d.old = cutOf(old, min(unused, total/unusedShare))
	d.upstreams = make(map[string]*cut, len(upstreams))
	excess := d.demand.all
	for name, own := range upstreams {
		c := cutOf(own, d.demand.upstreams[name])
		d.upstreams[name] = &c
		excess -= c.apply(own)
		for rank, bytes := range own {
			all[rank] += bytes
		}
	}
	d.all = cutOf(all, excess)
	return err
}

// goes decides on one blob. It is asked once for each.
func (d *decision) goes(i volume.ID, r index.Blob, used index.Use) bool {
	if d.pins.Has(i) || d.inUse(i) || r.Created.Before(d.from) {
		return false
	}
	last := lastUse(r, used)
	rank := d.rank(last)
	if last.Before(d.unused) && d.old.takes(rank, r.Size) {
		return true
	}
	if own := d.upstreams[oci.UpstreamName(r.Origin)]; own != nil && own.takes(rank, r.Size) {
		return true
	}
	return d.all.takes(rank, r.Size)
}

// lastUse is when a blob was last used, or stored. A use counts to the end of
// its hour, so that of two blobs of this hour the one that was asked for again
// outlives the one that was not.
func lastUse(r index.Blob, used index.Use) time.Time {
	if used == 0 || r.Created.After(used.End()) {
		return r.Created
	}
	return used.End()
}

// rank orders blobs by their last use: to the second for the last hour, lest what
// was just stored goes for the place that it took; to the minute for the last day,
// and to the hour before, which bounds the number of ranks. A time to come is now.
func (d *decision) rank(last time.Time) int64 {
	second := min(last.Unix(), d.now.Unix())
	switch age := d.now.Sub(last); {
	case age > 24*time.Hour:
		second -= second % 3600
	case age > time.Hour:
		second -= second % 60
	}
	return second
}
