package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// writeUsesEvery is how often it is written to the bucket what was used in this hour.
	writeUsesEvery = 10 * time.Minute
	// lastUsesBudget bounds the last of these writes.
	lastUsesBudget = time.Second
	// maxUses bounds what is remembered of one hour.
	maxUses = 1 << 20
)

// useID stands for a digest in lists of uses: its first 8 bytes. Two digests that share
// them share their uses, which does no harm.
type useID uint64

// useOf returns the id of a digest, or of the name of an object that ends in one.
func useOf(name string) (useID, bool) {
	name = name[strings.LastIndexAny(name, "/-:")+1:]
	if len(name) < 32 {
		return 0, false
	}
	n, err := strconv.ParseUint(name[:16], 16, 64)
	return useID(n), err == nil
}

// hourOf counts hours.
func hourOf(t time.Time) uint32 { return uint32(max(t.Unix(), 0) / 3600) }

// usesKey is where a gateway writes what was used in an hour, and usesHour what the keys of
// an hour begin with.
func usesKey(hour uint32, id string) string { return usesHour(hour) + id }

func usesHour(hour uint32) string { return fmt.Sprintf("%s%08d-", usesAt, hour) }

// uses are the blobs and manifests that were used, hour by hour, until that is written to
// the bucket. Safe for concurrent use.
type uses struct {
	depot *depot
	fleet *Fleet

	mu    sync.RWMutex
	hours map[uint32]*usesOf
}

// usesOf are the uses of one hour.
type usesOf struct {
	ids map[useID]struct{}
	// manifests are those that were used by now, as what they lead to was.
	manifests map[digest.Digest]bool
	changed   bool // since it was written
}

// note notes a use. It mostly only looks.
func (u *uses) note(d digest.Digest, manifest bool) {
	id, ok := useOf(d.String())
	if !ok {
		return
	}
	hour := hourOf(time.Now())
	u.mu.RLock()
	of := u.hours[hour]
	known := of != nil && of.has(id)
	u.mu.RUnlock()
	if known {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if of = u.hours[hour]; of == nil {
		if u.hours == nil {
			u.hours = map[uint32]*usesOf{}
		}
		of = &usesOf{ids: map[useID]struct{}{}, manifests: map[digest.Digest]bool{}}
		u.hours[hour] = of
	}
	if len(of.ids) < maxUses {
		of.ids[id], of.changed = struct{}{}, true
		if manifest {
			of.manifests[d] = true
		}
	}
}

func (o *usesOf) has(id useID) bool { _, ok := o.ids[id]; return ok }

// take returns the hours that have changed, and the manifests whose contents were not
// noted yet.
func (u *uses) take() (hours []uint32, manifests map[uint32][]digest.Digest) {
	u.mu.Lock()
	defer u.mu.Unlock()
	manifests = map[uint32][]digest.Digest{}
	for hour, of := range u.hours {
		if of.changed {
			hours = append(hours, hour)
			manifests[hour] = slices.Collect(maps.Keys(of.manifests))
			clear(of.manifests)
		}
	}
	return hours, manifests
}

// list adds ids to an hour, and returns all that it has, as they are written.
func (u *uses) list(hour uint32, more []useID) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.hours[hour]
	for _, id := range more {
		if len(of.ids) < maxUses {
			of.ids[id] = struct{}{}
		}
	}
	of.changed = false
	raw := make([]byte, 0, 8*len(of.ids))
	for _, id := range slices.Sorted(maps.Keys(of.ids)) {
		raw = binary.BigEndian.AppendUint64(raw, uint64(id))
	}
	return raw
}

// written forgets an hour that is over, or notes that it has to be written again.
func (u *uses) written(hour uint32, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch of := u.hours[hour]; {
	case of == nil:
	case !ok:
		of.changed = true
	case hour < hourOf(time.Now()) && !of.changed:
		delete(u.hours, hour)
	}
	for old := range u.hours {
		if old+24 < hour { // the bucket has taken none for long
			delete(u.hours, old)
		}
	}
}

// run writes down again and again, and at the end, what was used.
func (u *uses) run() {
	d := u.depot
	id := rand.Text()[:12]
	tick := time.NewTicker(writeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.put(d.ctx, id)
		case <-d.ctx.Done():
			if d.writes.open() == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), lastUsesBudget)
				defer cancel()
				u.put(ctx, id)
			}
			return
		}
	}
}

func (u *uses) put(ctx context.Context, id string) {
	defer u.fleet.survive("write uses")
	hours, manifests := u.take()
	var errs []error
	for _, hour := range hours {
		var more []useID
		for _, m := range manifests[hour] {
			more = append(more, u.with(ctx, m)...)
		}
		raw := u.list(hour, more)
		err := u.depot.put(ctx, usesKey(hour, id), bytes.NewReader(raw), int64(len(raw)), bucket.PutOptions{ContentType: untyped})
		u.written(hour, err == nil)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		u.depot.log.Debug("uses are not written to the bucket", "error", err)
	}
}

// with returns what is used with a manifest: the blobs of an image. Of an index, nobody
// pulls all platforms.
func (u *uses) with(ctx context.Context, d digest.Digest) (ids []useID) {
	mf, err := u.fleet.local.Records.Manifest(ctx, d)
	if err != nil {
		return nil
	}
	_, contents, err := oci.DecodeManifest(mf.MediaType, mf.Bytes)
	if err != nil || len(contents.Manifests) > 0 {
		return nil
	}
	for _, b := range contents.Blobs {
		if id, ok := useOf(b.Digest.String()); ok {
			ids = append(ids, id)
		}
	}
	return ids
}
