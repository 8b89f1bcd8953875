package storage

import (
	"hash/maphash"
	"sync/atomic"
)

// recent holds decoded records of the index by their keys: what hits need again
// and again. It is a table with one place for each slot of the hash, so that it is
// bounded, and that readers take no lock and write nothing that others read.
//
// A record in it is what a reader has found in the index. It must be neither older
// than the last change nor stay when the next comes, so each slot has a version,
// which the writer moves on after each change: an entry counts only with the
// version that stood there before the reader looked into the index.
//
// What it holds is shared, and never changed.
type recent struct {
	seed  maphash.Seed
	slots []recentSlot
}

type recentSlot struct {
	version atomic.Uint64
	entry   atomic.Pointer[recentEntry]
}

type recentEntry struct {
	key     string
	version uint64
	value   any
}

// newRecent returns a table for the given number of records, a power of two.
func newRecent(slots int) *recent {
	return &recent{seed: maphash.MakeSeed(), slots: make([]recentSlot, slots)}
}

// place is where a record goes that is about to be looked up in the index.
type place struct {
	slot    *recentSlot
	version uint64
}

// look returns the value of a key, or nil and the place to keep it at.
func (r *recent) look(key []byte) (any, place) {
	slot := r.slot(key)
	version := slot.version.Load()
	if e := slot.entry.Load(); e != nil && e.version == version && e.key == string(key) {
		return e.value, place{}
	}
	return nil, place{slot, version}
}

// keep keeps the value of a key.
func (p place) keep(key []byte, value any) {
	p.slot.entry.Store(&recentEntry{string(key), p.version, value})
}

// changed makes the table forget what it has of keys that share the slot.
func (r *recent) changed(key []byte) { r.slot(key).change() }

// clear makes it forget everything.
func (r *recent) clear() {
	for i := range r.slots {
		r.slots[i].change()
	}
}

func (s *recentSlot) change() {
	s.version.Add(1)
	s.entry.Store(nil)
}

func (r *recent) slot(key []byte) *recentSlot {
	return &r.slots[maphash.Bytes(r.seed, key)&uint64(len(r.slots)-1)]
}
