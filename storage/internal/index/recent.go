package index

import (
	"hash/maphash"
	"io/fs"
	"sync/atomic"
)

// Recent holds decoded records of the index by their keys: what hits need again
// and again. It is a table with a few places for each set of keys that their hash
// makes, so that it is bounded, and that readers take no lock and write nothing that
// others read. With one place, two keys that share it would push each other out, as a
// quarter of the keys do where there are half as many as places.
//
// A record in it is what a reader has found in the index. It must be neither older
// than the last change nor stay when the next comes, so each set has a version,
// which the writer moves on after each change: an entry counts only with the
// version that stood there before the reader looked into the index.
//
// What it holds is shared, and never changed.
type Recent struct {
	seed maphash.Seed
	sets []recentSet
}

// recentWays is how many records a set has room for.
const recentWays = 4

// recentSet takes a line of the processor's cache.
type recentSet struct {
	version atomic.Uint64
	next    atomic.Uint32 // where to begin to look for room
	// marks are of the hashes of the keys. They only spare a look at an entry that is
	// another's, and may be those of an earlier one.
	marks   [recentWays]atomic.Uint32
	entries [recentWays]atomic.Pointer[recentEntry]
}

type recentEntry struct {
	key     string
	version uint64
	value   any
}

// newRecent returns a table for the given number of records, a power of two.
func newRecent(records int) *Recent {
	return &Recent{seed: maphash.MakeSeed(), sets: make([]recentSet, max(records/recentWays, 1))}
}

// Place is where a record goes that is about to be looked up in the index.
type Place struct {
	set     *recentSet
	mark    uint32
	version uint64
}

// Look returns the value of a key, or nil and the place to keep it at.
func (r *Recent) Look(key []byte) (any, Place) {
	set, mark := r.set(key)
	version := set.version.Load()
	for k := range set.entries {
		if set.marks[k].Load() != mark {
			continue
		}
		if e := set.entries[k].Load(); e != nil && e.version == version && e.key == string(key) {
			return e.value, Place{}
		}
	}
	return nil, Place{set, mark, version}
}

// Keep keeps the value of a key. If there is no room, another one has to go.
func (p Place) Keep(key []byte, value any) {
	k := p.set.next.Add(1) % recentWays
	for range recentWays {
		if e := p.set.entries[k].Load(); e == nil || e.version != p.version || e.key == string(key) {
			break
		}
		k = (k + 1) % recentWays
	}
	p.set.entries[k].Store(&recentEntry{string(key), p.version, value})
	p.set.marks[k].Store(p.mark)
}

// changed makes the table forget what it has of keys that share the set.
func (r *Recent) changed(key []byte) {
	set, _ := r.set(key)
	set.change()
}

// clear makes it forget everything.
func (r *Recent) clear() {
	for k := range r.sets {
		r.sets[k].change()
	}
}

func (s *recentSet) change() {
	s.version.Add(1)
	for k := range s.entries {
		s.entries[k].Store(nil)
	}
}

func (r *Recent) set(key []byte) (*recentSet, uint32) {
	hash := maphash.Bytes(r.seed, key)
	return &r.sets[hash&uint64(len(r.sets)-1)], uint32(hash >> 32)
}

// Recall returns the record of a key, decoded: one that was read lately, or what read
// returns. It is fs.ErrNotExist if that is none.
func Recall[R any](recent *Recent, key []byte, read func() ([]byte, error), decode func([]byte) (R, bool)) (R, error) {
	known, place := recent.Look(key)
	if record, ok := known.(*R); ok {
		return *record, nil
	}
	var none R
	raw, err := read()
	if err != nil {
		return none, err
	}
	record, ok := decode(raw)
	if !ok {
		return none, fs.ErrNotExist
	}
	place.Keep(key, &record)
	return record, nil
}
