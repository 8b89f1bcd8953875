package fleet

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Kept is what a gateway keeps of a bucket across restarts.
type Kept struct {
	Bucket string `json:"bucket"`
	// Cursor is the last purge that was done here, and Read when the log was last read, or
	// the bucket first used.
	Cursor string    `json:"cursor,omitempty"`
	Read   time.Time `json:"read,omitzero"`
	// Void is up to when nothing holds that was said: the log was not read for too long.
	Void time.Time `json:"void,omitzero"`
	// Pins are the patterns of the pins that were in the bucket.
	Pins []string `json:"pins,omitempty"`
}

// readEvery is how often it is written down that the log was read.
const readEvery = time.Hour

// kept is what is kept, and where. Safe for concurrent use.
type kept struct {
	store Store
	log   *slog.Logger

	mu      sync.Mutex
	now     Kept
	saved   time.Time // Read, as it is written down
	changed bool      // since it was written down
}

// recall returns what an earlier process has kept of a bucket. Of another one it is
// nothing.
func recall(store Store, name string, log *slog.Logger) *kept {
	k := &kept{store: store, log: log}
	raw, err := store.LoadShared()
	if err == nil {
		err = json.Unmarshal(raw, &k.now)
	}
	if err != nil || k.now.Bucket != name {
		k.now = Kept{Bucket: name, Void: k.now.Void}
	}
	if k.saved = k.now.Read; k.saved.IsZero() {
		k.now.Read = time.Now().UTC()
	}
	k.lapse(time.Now())
	return k
}

// lapse voids all that was said if the log was not read for so long that purges may be gone.
func (k *kept) lapse(now time.Time) {
	if outlived(k.now.Read, now) {
		k.log.Warn("the log of purges was not read for too long: what is stored has to be confirmed anew", "since", k.now.Read)
		k.now.Void, k.changed = now, true
	}
}

// outlived reports whether purges may be gone that were not there at a time. A clock that
// stops with the machine does not tell.
func outlived(at, now time.Time) bool { return now.Round(0).Sub(at) > keepPurges }

func (k *kept) get() Kept {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// change changes what is kept; it is saved later.
func (k *kept) change(by func(*Kept)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	by(&k.now)
	k.changed = true
}

// sawLog notes that the log was read, and returns up to when nothing holds that was said.
func (k *kept) sawLog(now time.Time) (void time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.lapse(now)
	k.now.Read = now.UTC()
	k.changed = k.changed || now.Sub(k.saved) > readEvery
	return k.now.Void
}

// save writes down what has changed. A store that takes nothing knows less at the next
// start, and does it again.
func (k *kept) save() {
	k.mu.Lock()
	now, changed := k.now, k.changed
	k.changed = false
	if changed {
		k.saved = now.Read
	}
	k.mu.Unlock()
	if !changed {
		return
	}
	raw, err := json.Marshal(now)
	if err == nil {
		err = k.store.SaveShared(raw)
	}
	if err != nil {
		k.log.Debug("not kept what is known of the bucket", "error", err)
	}
}

// keep writes down, again and again and at the end, what is to be kept.
func (l *purgeLog) keep() {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	defer l.kept.save()
	for {
		select {
		case <-tick.C:
			l.kept.save()
		case <-l.depot.ctx.Done():
			return
		}
	}
}

// noStore is the Store of a Fleet that has none.
type noStore struct{}

func (noStore) Remove(context.Context, storage.RemoveOptions) (r storage.RemoveReport, err error) {
	return r, fs.ErrNotExist
}
func (noStore) Limits() storage.Limits                                   { return storage.Limits{} }
func (noStore) Pins(context.Context) ([]storage.StoredPin, error)        { return nil, nil }
func (noStore) Pin(context.Context, oci.Pin) (added bool, err error)     { return false, nil }
func (noStore) Unpin(context.Context, oci.Pin) (dropped bool, err error) { return false, nil }
func (noStore) LoadShared() ([]byte, error)                              { return nil, fs.ErrNotExist }
func (noStore) SaveShared([]byte) error                                  { return nil }
