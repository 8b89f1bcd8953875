package storage

import "sync/atomic"

// reservation is what one part has of the space: what the file system holds back for
// it, or else what is promised to it and not written yet.
type reservation struct {
	space *space
	size  int64 // of the part; -1 = unknown
	// held says that the file system holds the space back.
	held     bool
	promised atomic.Int64
	written  atomic.Int64 // where what was written ends; of an unknown size only
}

// take reserves what is left to be written of the part, -1 = unknown.
func (r *reservation) take(left int64) error {
	err := r.space.take(left)
	if err == nil {
		r.promised.Store(max(left, 0))
	}
	return err
}

// allocate has the file system hold back the space, where it can.
func (r *reservation) allocate(f file) error {
	taken, err := f.allocate(r.size)
	if r.held = err == nil && taken; r.held {
		r.space.forget()
		r.release()
	}
	return err
}

// spend accounts for a write. It returns ErrNoSpace if it would take what the index
// needs.
func (r *reservation) spend(off int64, bytes int) error {
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
	r.space.spend(bytes)
	return r.space.room()
}

// release gives back what was promised and not written.
func (r *reservation) release() { r.space.promise(-r.promised.Swap(0)) }

// known returns how large the part is going to be, or is if that is not known.
func (r *reservation) known() int64 { return max(r.size, r.written.Load()) }
