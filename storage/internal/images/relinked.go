package images

import (
	"sync"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// relinked are the ids that were linked since a removal began, to whichever scope:
// somebody wants them. The zero value notices nothing. Safe for concurrent use.
type relinked struct {
	mu  sync.Mutex
	ids map[volume.ID]struct{} // nil = no removal runs
}

// begin begins to notice, and returns r.
func (r *relinked) begin() *relinked {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = make(map[volume.ID]struct{})
	return r
}

func (r *relinked) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids = nil
}

// note is called before a link is made.
func (r *relinked) note(i volume.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids != nil {
		r.ids[i] = struct{}{}
	}
}

func (r *relinked) has(i volume.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.ids[i]
	return ok
}
