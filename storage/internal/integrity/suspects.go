package integrity

import (
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Suspects are the blobs that were written last before the machine went down, and
// those without a record. Each is verified before its first use. The zero value
// suspects only the latter.
type Suspects struct {
	// none says that there are none but those without a record, so that hits need no
	// lock to find out.
	none atomic.Bool

	mu       sync.Mutex
	from, to time.Time
	// verified are those that need it no more, whatever the index knows.
	verified map[volume.ID]struct{}
	// condemned are those that are damaged and could not be moved away: whatever the
	// index says of them.
	condemned map[volume.ID]struct{}
}

// None reports whether only blobs without a record are in doubt. Ask before a blob is
// opened: what is in doubt may be taken out of use right after.
func (u *Suspects) None() bool { return u.none.Load() }

// Doubt reports whether a blob has to be verified; recorded says whether the
// index knows it.
func (u *Suspects) Doubt(i volume.ID, info fs.FileInfo, recorded bool) bool {
	if recorded && u.None() {
		return false
	}
	u.mu.Lock()
	defer u.changed()
	if _, condemned := u.condemned[i]; condemned {
		return true
	}
	doubt := !recorded || u.within(info)
	_, verified := u.verified[i]
	if verified && !doubt {
		// The index has taken over.
		delete(u.verified, i)
	}
	return doubt && !verified
}

// changed ends a change, and gives the lock back.
func (u *Suspects) changed() {
	u.none.Store(u.to.IsZero() && len(u.verified) == 0 && len(u.condemned) == 0)
	u.mu.Unlock()
}

// within reports whether a file is of the time in doubt. The lock is held.
func (u *Suspects) within(info fs.FileInfo) bool {
	at := info.ModTime()
	return !u.to.IsZero() && !at.Before(u.from) && !at.After(u.to)
}

// Trust makes a blob one that was verified, though the index may not know it.
func (u *Suspects) Trust(i volume.ID) {
	u.mu.Lock()
	defer u.changed()
	if u.verified == nil {
		u.verified = make(map[volume.ID]struct{})
	}
	u.verified[i] = struct{}{}
}

// Condemn makes a blob one that is verified whenever it is used, and reports
// whether it was none.
func (u *Suspects) Condemn(i volume.ID) bool {
	u.mu.Lock()
	defer u.changed()
	_, condemned := u.condemned[i]
	if u.condemned == nil {
		u.condemned = make(map[volume.ID]struct{})
	}
	u.condemned[i] = struct{}{}
	return !condemned
}

// Absolve undoes Condemn: there is another file, or none, or it turned out to be sound. It
// reports whether the blob was condemned.
func (u *Suspects) Absolve(i volume.ID) bool {
	u.mu.Lock()
	defer u.changed()
	_, condemned := u.condemned[i]
	delete(u.condemned, i)
	return condemned
}

// Condemned returns the blobs that are condemned.
func (u *Suspects) Condemned() []volume.ID {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.condemned))
}

// Forget makes a blob one that was never verified.
func (u *Suspects) Forget(i volume.ID) {
	u.mu.Lock()
	defer u.changed()
	delete(u.verified, i)
}

// set sets the time in doubt; zero = none.
func (u *Suspects) set(from, to time.Time) {
	u.mu.Lock()
	defer u.changed()
	u.from, u.to = from, to
}

// Settled reports whether nothing is in doubt or condemned.
func (u *Suspects) Settled() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.to.IsZero() && len(u.condemned) == 0
}

// trusted returns the blobs that were verified, and whether there is a time in doubt.
func (u *Suspects) trusted() (ids []volume.ID, doubt bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.verified)), !u.to.IsZero()
}

// late reports whether a file is of the time in doubt.
func (u *Suspects) late(info fs.FileInfo) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.within(info)
}
