package volume

import "sync/atomic"

// Reservation is what one part has of the space: what the file system holds back for
// it, or else what is promised to it and not written yet.
type Reservation struct {
	space *Space
	size  int64 // of the part; -1 = unknown
	// held says that the file system holds the space back.
	held     bool
	promised atomic.Int64
	written  atomic.Int64 // where what was written ends; of an unknown size only
}

// Part returns the share of a part of the size, -1 = unknown.
func (s *Space) Part(size int64) *Reservation { return &Reservation{space: s, size: size} }

// Take reserves what is left to be written of the part, -1 = unknown.
func (r *Reservation) Take(left int64) error {
	err := r.space.take(left)
	if err == nil {
		r.promised.Store(max(left, 0))
	}
	return err
}

// Allocate has the file system hold back the space, where it can.
func (r *Reservation) Allocate(f File) error {
	taken, err := f.Allocate(r.size)
	if r.held = err == nil && taken; r.held {
		r.space.Forget()
		r.Release()
	}
	return err
}

// Spend accounts for a write. It returns ErrNoSpace if it would take what the index
// needs.
func (r *Reservation) Spend(off int64, bytes int) error {
	if r.held {
		return nil
	}
	if r.size < 0 {
		for end, old := off+int64(bytes), r.written.Load(); old < end && !r.written.CompareAndSwap(old, end); old = r.written.Load() {
		}
	}
	for left := r.promised.Load(); left > 0; left = r.promised.Load() {
		if now := min(left, int64(bytes)); r.promised.CompareAndSwap(left, left-now) {
			r.space.promise(-now)
			break
		}
	}
	r.space.Spend(bytes)
	return r.space.CheckReserve()
}

// Release gives back what was promised and not written.
func (r *Reservation) Release() { r.space.promise(-r.promised.Swap(0)) }

// Known returns how large the part is going to be, or is if that is not known.
func (r *Reservation) Known() int64 { return max(r.size, r.written.Load()) }
