package storage

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
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
	u.mu.Lock()
	defer u.mu.Unlock()
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

// within reports whether a file is of the time in doubt. The lock is held.
func (u *suspects) within(info fs.FileInfo) bool {
	at := info.ModTime()
	return !u.to.IsZero() && !at.Before(u.from) && !at.After(u.to)
}

func (u *suspects) trust(i id) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.verified == nil {
		u.verified = make(map[id]struct{})
	}
	u.verified[i] = struct{}{}
}

// condemn makes a blob one that is verified whenever it is used.
func (u *suspects) condemn(i id) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.condemned == nil {
		u.condemned = make(map[id]struct{})
	}
	u.condemned[i] = struct{}{}
}

// absolve ends that: there is another file, or none.
func (u *suspects) absolve(i id) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.condemned, i)
}

// recordTrusted records the blobs that are trusted though the index does not know
// them yet: what takes space has to be accounted for.
func (s *Store) recordTrusted() {
	s.suspects.mu.Lock()
	trusted, doubt := slices.Collect(maps.Keys(s.suspects.verified)), !s.suspects.to.IsZero()
	s.suspects.mu.Unlock()
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
		if err == nil {
			err = s.record(i, info, s.now())
		}
		if err != nil {
			s.log.Debug("blob is still not recorded", "digest", i.digest(), "error", err)
			return
		}
	}
}

// forget makes a blob one that was never verified.
func (u *suspects) forget(i id) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.verified, i)
}

// clear ends the doubt about what was written last.
func (u *suspects) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
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
		s.unclean = st.sequence > 0 && !st.clean
		st.clean, st.boot = false, boot
	})
	s.suspects.mu.Lock()
	defer s.suspects.mu.Unlock()
	s.suspects.from, s.suspects.to = s.state.suspect, s.state.trusted
	if !s.suspects.to.IsZero() {
		s.log.Warn("machine went down while the store was open: its newest blobs are verified before they are used",
			"from", s.suspects.from)
	}
}

// checkpoint brings everything to the disk from time to time.
func (s *Store) checkpoint() {
	now := s.now()
	if since := now.Sub(s.state.checkpoint); since >= 0 && since < checkpointEvery {
		return
	}
	if done, err := s.lock.syncVolume(); err != nil {
		s.log.Warn("checkpoint", "error", err)
	} else if done {
		s.noteState(func(st *state) { st.checkpoint = now })
	}
}

// keepScrubbed verifies what is in doubt, or may not be recorded, and then, slowly
// and again and again, everything, until ctx is done.
func (s *Store) keepScrubbed(ctx context.Context) {
	// An eviction that was cut short, or an index that was begun anew, leaves files
	// that nobody accounts for.
	unknown := s.unclean || s.usage.indexRebuilds.Load() > 0
	if unknown || !s.state.trusted.IsZero() {
		for wait := s.retry; !s.endDoubt(ctx, unknown); wait = min(2*wait, scrubDelay) {
			select {
			case <-time.After(wait):
			case <-ctx.Done():
				return
			}
		}
	}
	for {
		due := time.NewTimer(max(s.state.scrubbed.Add(scrubEvery).Sub(s.now()), scrubDelay))
		select {
		case <-due.C:
			s.scrubOnce(ctx)
		case <-ctx.Done():
			due.Stop()
			return
		}
	}
}

// endDoubt verifies what is in doubt, and what is not recorded, too, if that may be.
// It reports whether it got to the end.
func (s *Store) endDoubt(ctx context.Context, unknown bool) bool {
	p := pass{store: s, pace: newPace(0), wanted: func(i id, info fs.FileInfo) bool {
		s.suspects.mu.Lock()
		doubt := s.suspects.within(info)
		s.suspects.mu.Unlock()
		return doubt || unknown && !s.recorded(i)
	}}
	if err := p.run(ctx, ""); err != nil {
		if ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			s.log.Error("verify blobs", "error", err)
		}
		return false
	}
	s.suspects.clear()
	if !s.state.trusted.IsZero() {
		s.noteState(func(st *state) { st.suspect, st.trusted = time.Time{}, time.Time{} })
	}
	s.log.Info("blobs in doubt are verified", "blobs", p.done.Blobs, "damaged", p.done.Damaged)
	return true
}

// recorded reports whether the index knows a blob. Only who keeps house and the
// scrub call it, which end before the index does.
func (s *Store) recorded(i id) bool {
	_, known := s.blobRecord(i)
	return known
}

// scrubOnce goes on with the pass in the background where it stopped.
func (s *Store) scrubOnce(ctx context.Context) {
	noted := s.now()
	p := pass{store: s, pace: newPace(0), at: func(shard string) {
		if now := s.now(); now.Sub(noted) >= scrubNote {
			noted = now
			s.noteState(func(st *state) { st.shard = shard })
		}
	}}
	err := p.run(ctx, s.state.shard)
	switch {
	case err == nil:
		s.noteState(func(st *state) { st.shard, st.scrubbed = "", s.now() })
		s.log.Info("blobs are scrubbed", "blobs", p.done.Blobs, "bytes", p.done.Bytes, "damaged", p.done.Damaged)
	case ctx.Err() == nil && !errors.Is(err, ErrClosed):
		s.log.Error("scrub blobs", "error", err)
	}
}
