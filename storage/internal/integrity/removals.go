package integrity

import (
	"sync"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Removals are the blobs that are being removed. Their records go first: nobody may
// write another before the file has gone, too. The zero value has none. Safe for
// concurrent use.
type Removals struct {
	mu    sync.Mutex
	begun int // how many removals have begun
	times map[volume.ID]int
}

// Begin notes that the removal of blobs begins, and returns what notes its end.
func (r *Removals) Begin(ids []volume.ID) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.times == nil {
		r.times = make(map[volume.ID]int)
	}
	r.begun++
	for _, i := range ids {
		r.times[i]++
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, i := range ids {
			if r.times[i]--; r.times[i] == 0 {
				delete(r.times, i)
			}
		}
	}
}

// Has reports whether a blob is being removed.
func (r *Removals) Has(i volume.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times[i] > 0
}

// between calls look until no removal has begun meanwhile, and reports false if the
// blob is being removed, or removals are so many that it cannot be told.
func (r *Removals) between(i volume.ID, look func()) bool {
	const tries = 3
	for range tries {
		begun := r.count()
		if r.Has(i) {
			return false
		}
		if look(); r.count() == begun {
			return true
		}
	}
	return false
}

func (r *Removals) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun
}
