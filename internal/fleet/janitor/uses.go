package janitor

import (
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

// hourName is what the names of the lists of an hour begin with; that of a gateway follows.
func hourName(hour uint32) string { return fmt.Sprintf("%08d-", hour) }

// Uses are the blobs and manifests that were used, hour by hour, until that is written to
// the bucket. Safe for concurrent use.
type Uses struct {
	bucket
	// contents reads a manifest that the gateway has.
	contents func(context.Context, digest.Digest) (oci.Contents, error)

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

// Note notes a use. It mostly only looks.
func (u *Uses) Note(d digest.Digest, manifest bool) {
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
func (u *Uses) take() (hours []uint32, manifests map[uint32][]digest.Digest) {
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
func (u *Uses) list(hour uint32, more []useID) []byte {
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
func (u *Uses) written(hour uint32, ok bool) {
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

// Run writes down again and again what was used, until ctx ends, and then once more.
func (u *Uses) Run(ctx context.Context) {
	id := rand.Text()[:12]
	tick := time.NewTicker(writeUsesEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			u.Write(ctx, id)
		case <-ctx.Done():
			if u.Well() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastUsesBudget)
				defer cancel()
				u.Write(ctx, id)
			}
			return
		}
	}
}

// Write writes down what was used, as one of the gateways.
func (u *Uses) Write(ctx context.Context, id string) {
	defer u.Survive("write uses")
	hours, manifests := u.take()
	errs := make([]error, 0, len(hours))
	for _, hour := range hours {
		more := make([]useID, 0, len(manifests[hour]))
		for _, m := range manifests[hour] {
			more = append(more, u.with(ctx, m)...)
		}
		err := u.put(ctx, u.In.Uses+hourName(hour)+id, u.list(hour, more))
		u.written(hour, err == nil)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		u.Log.Debug("uses are not written to the bucket", "error", err)
	}
}

// with returns what is used with a manifest: the blobs of an image. Of an index, nobody
// pulls all platforms.
func (u *Uses) with(ctx context.Context, d digest.Digest) (ids []useID) {
	contents, err := u.contents(ctx, d)
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
