package mirror

import (
	"context"
	"sync"
	"time"
)

// life is how long a Cache lives, and the goroutines that it counts until its end. Safe
// for concurrent use.
type life struct {
	ctx context.Context // ends when the life does
	end context.CancelFunc

	births  sync.Mutex
	over    bool
	running int
	none    chan struct{} // closed once it is over and nothing runs any more
}

func newLife() *life {
	l := &life{none: make(chan struct{})}
	l.ctx, l.end = context.WithCancel(context.Background())
	return l
}

// start runs fn as a goroutine that close waits for. It returns false, and runs
// nothing, once the life is over.
func (l *life) start(fn func()) bool {
	l.births.Lock()
	defer l.births.Unlock()
	if l.over {
		return false
	}
	l.running++
	go func() {
		defer l.leave()
		fn()
	}()
	return true
}

func (l *life) leave() {
	l.births.Lock()
	defer l.births.Unlock()
	if l.running--; l.over && l.running == 0 {
		close(l.none)
	}
}

// close ends the life, and waits until nothing runs any more. It reports false if that
// takes longer than patience. It may be called more than once.
func (l *life) close(patience time.Duration) bool {
	l.births.Lock()
	if !l.over {
		l.over = true
		if l.running == 0 {
			close(l.none)
		}
	}
	l.births.Unlock()
	l.end()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-l.none:
		return true
	case <-late.C:
		return false
	}
}
