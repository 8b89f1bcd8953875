package storage

import (
	"sync"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// going are the blobs that are being removed. Their records go first: nobody may
// write another before the file has gone, too. The zero value has none. Safe for
// concurrent use.
type going struct {
	mu    sync.Mutex
	begun int // how many removals have begun
	times map[volume.ID]int
}

// begin notes that blobs begin to go, and returns what notes that they have gone.
func (g *going) begin(ids []volume.ID) (end func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.times == nil {
		g.times = make(map[volume.ID]int)
	}
	g.begun++
	for _, i := range ids {
		g.times[i]++
	}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		for _, i := range ids {
			if g.times[i]--; g.times[i] == 0 {
				delete(g.times, i)
			}
		}
	}
}

func (g *going) has(i volume.ID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.times[i] > 0
}

// still calls look until no removal has begun meanwhile, and reports false if the
// blob is being removed, or removals are so many that it cannot be told.
func (g *going) still(i volume.ID, look func()) bool {
	const tries = 3
	for range tries {
		begun := g.count()
		if g.has(i) {
			return false
		}
		if look(); g.count() == begun {
			return true
		}
	}
	return false
}

func (g *going) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.begun
}
