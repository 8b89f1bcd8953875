package storage

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"
)

// unstoredFor is for how long a blob that was not stored is told of.
const unstoredFor = time.Hour

// Unstored is a blob for which there was no room: it passes through with each pull.
type Unstored struct {
	// Since is when the first of those that were not stored one after the other was asked
	// for. Bytes is the size of the last one, -1 = unknown.
	Since time.Time `json:"since"`
	Bytes int64     `json:"bytes"`
	Error string    `json:"error"`
	// Limit says that a limit alone is the reason: the disk may have room.
	Limit bool `json:"limit,omitempty"`
}

// unstored remembers the last blob that was not stored, until one as large is. The zero
// value knows none. Safe for concurrent use.
type unstored struct{ last atomic.Pointer[turnedAway] }

type turnedAway struct {
	Unstored
	at time.Time
}

// note remembers a blob of size bytes if err says that there was no room for it, and
// returns err.
func (u *unstored) note(size int64, err error, now time.Time) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	limit, limited := errors.AsType[*LimitError](err)
	blob := &turnedAway{Unstored{now, size, err.Error(), limited}, now}
	if limited {
		blob.Error = limit.Error()
	}
	if known := u.last.Load(); known != nil && known.Limit == limited {
		blob.Since = known.Since
	}
	u.last.Store(blob)
	return err
}

// placed says that a blob of size bytes was stored.
func (u *unstored) placed(size int64) {
	if known := u.last.Load(); known != nil && size >= known.Bytes {
		u.last.CompareAndSwap(known, nil)
	}
}

// now returns the blob that was not stored; nil = all were.
func (u *unstored) now(now time.Time) *Unstored {
	if known := u.last.Load(); known != nil && now.Sub(known.at) < unstoredFor {
		return &known.Unstored
	}
	return nil
}
