package storage

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// checkpointEvery is how often everything is brought to the disk, so that a
	// power failure casts doubt on little.
	checkpointEvery = time.Hour
	// suspectMargin is how much more than what the checkpoint does not cover is
	// in doubt: the times of files are not ours.
	suspectMargin = time.Hour
	// trustMargin is how much of what came after the opening is in doubt, too.
	trustMargin = time.Minute
)

// suspects are the blobs that were written last before the machine went down, and
// those without a record. Each is verified before its first use. The zero value
// suspects only the latter.
type suspects struct {
	// none says that there are none but those without a record, so that hits need no
	// lock to find out.
	none atomic.Bool

	mu       sync.Mutex
	from, to time.Time
	// verified are those that need it no more, but for what the index knows.
	verified map[id]struct{}
	// condemned are those that are damaged and could not be moved away: whatever the
	// index says of them.
	condemned map[id]struct{}
}

// doubt reports whether a blob has to be verified; recorded says whether the
// index knows it.
func (u *suspects) doubt(i id, info fs.FileInfo, recorded bool) bool {
	if recorded && u.none.Load() {
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
func (u *suspects) changed() {
	u.none.Store(u.to.IsZero() && len(u.verified) == 0 && len(u.condemned) == 0)
	u.mu.Unlock()
}

// within reports whether a file is of the time in doubt. The lock is held.
func (u *suspects) within(info fs.FileInfo) bool {
	at := info.ModTime()
	return !u.to.IsZero() && !at.Before(u.from) && !at.After(u.to)
}

func (u *suspects) trust(i id) {
	u.mu.Lock()
	defer u.changed()
	if u.verified == nil {
		u.verified = make(map[id]struct{})
	}
	u.verified[i] = struct{}{}
}

// condemn makes a blob one that is verified whenever it is used, and reports
// whether it was none.
func (u *suspects) condemn(i id) bool {
	u.mu.Lock()
	defer u.changed()
	_, condemned := u.condemned[i]
	if u.condemned == nil {
		u.condemned = make(map[id]struct{})
	}
	u.condemned[i] = struct{}{}
	return !condemned
}

// absolve ends that: there is another file, or none, or it turned out to be sound.
func (u *suspects) absolve(i id) {
	u.mu.Lock()
	defer u.changed()
	delete(u.condemned, i)
}

// listCondemned returns the blobs that are condemned.
func (u *suspects) listCondemned() []id {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.condemned))
}

// recordTrusted records the blobs that are trusted though the index does not know
// them yet: what takes space has to be accounted for. It reports whether none is
// left.
func (s *Store) recordTrusted() bool {
	s.suspects.mu.Lock()
	trusted, doubt := slices.Collect(maps.Keys(s.suspects.verified)), !s.suspects.to.IsZero()
	s.suspects.mu.Unlock()
	all := true
	for _, i := range trusted {
		if s.recorded(i) {
			if !doubt {
				s.suspects.forget(i)
			}
			continue
		}
		info, err := s.root.Lstat(i.blobPath())
		if errors.Is(err, fs.ErrNotExist) {
			s.suspects.forget(i)
			continue
		}
		if err != nil {
			s.log.Debug("blob is still not recorded", "digest", i.digest(), "error", err)
			all = false
			continue
		}
		if err := s.record(i, info, s.now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.log.Debug("blob is still not recorded", "digest", i.digest(), "error", err)
			return false
		}
	}
	return all
}

// noteUnaccounted writes down, at the end, whether there are files that nobody
// accounts for: only who verified or condemned them knows of these.
func (s *Store) noteUnaccounted() {
	all := false
	s.survives("record what is trusted", func() { all = s.recordTrusted() })
	condemned := s.suspects.listCondemned()
	if all && len(condemned) == 0 {
		return
	}
	// With a record, the next store would trust them.
	err := s.index.offer(context.Background(), len(condemned)*linkBytes, func(b *batch) error {
		for _, i := range condemned {
			if err := b.dropBlob(i); err != nil {
				return err
			}
		}
		return nil
	})
	s.noteState(func(st *state) {
		st.unaccounted = true
		if err != nil && len(condemned) > 0 {
			st.suspect, st.trusted = time.Unix(1, 0), s.now().Add(trustMargin)
		}
	})
}

// forget makes a blob one that was never verified.
func (u *suspects) forget(i id) {
	u.mu.Lock()
	defer u.changed()
	delete(u.verified, i)
}

// clear ends the doubt about what was written last.
func (u *suspects) clear() {
	u.mu.Lock()
	defer u.changed()
	u.from, u.to = time.Time{}, time.Time{}
}

// beginRun opens the state and records in it that the store is open. If the machine went down since it was
// open last, what was written then is in doubt.
func (s *Store) beginRun(boot string) {
	// Without VERSION, it would make the directory one that is not ours.
	if _, err := s.root.Lstat(versionFile); err == nil {
		if s.state, err = openState(s.root); err != nil {
			s.log.Warn("state of the store is not recorded", "error", err)
		}
	}
	s.clock.begin(s.state.wall, s.now())
	s.noteState(func(st *state) {
		down := st.sequence > 0 && !st.clean && (boot == "" || boot != st.boot)
		if down {
			if from := st.checkpoint.Add(-suspectMargin); st.checkpoint.IsZero() {
				st.suspect = time.Unix(1, 0)
			} else if st.trusted.IsZero() || from.Before(st.suspect) {
				st.suspect = from
			}
			st.trusted = s.now().Add(trustMargin)
		}
		// An eviction that was cut short leaves a file without a record. Where the
		// state was lost, nobody knows.
		st.unaccounted = st.unaccounted || !st.clean
		s.inherited.Store(st.sequence > 0 && !st.clean && !down)
		st.clean, st.boot = false, boot
	})
	s.suspects.mu.Lock()
	defer s.suspects.changed()
	s.suspects.from, s.suspects.to = s.state.suspect, s.state.trusted
	if !s.suspects.to.IsZero() {
		s.log.Warn("machine went down while the store was open: its newest blobs are verified before they are used",
			"from", s.suspects.from)
	}
}

// checkpoint brings everything to the disk from time to time, and what a run left
// that was killed at once.
func (s *Store) checkpoint() {
	now := s.now()
	if since := now.Sub(s.state.checkpoint); since >= 0 && since < checkpointEvery && !s.inherited.Load() {
		return
	}
	done, err := s.lock.syncVolume()
	if err != nil {
		s.log.Warn("checkpoint", "error", err)
		return
	}
	s.inherited.Store(false)
	if done {
		s.noteState(func(st *state) { st.checkpoint = now })
	}
}

// synced reports whether all blobs are on the disk, so that the next run need not
// doubt any.
func (s *Store) synced() bool { return s.unsynced.Load() == 0 && !s.inherited.Load() }
