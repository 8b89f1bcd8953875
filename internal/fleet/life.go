package fleet

import (
	"context"
	"sync"
)

// life is how long something lives, and the goroutines that end with it.
type life struct {
	ctx     context.Context // ends with it
	end     context.CancelFunc
	births  sync.Mutex // held while something starts, or it ends
	running sync.WaitGroup
}

// start runs fn as a goroutine that close waits for, unless it is over.
func (l *life) start(fn func()) {
	l.births.Lock()
	defer l.births.Unlock()
	if l.ctx.Err() == nil {
		l.running.Go(fn)
	}
}

// close ends all that is under way, and waits for it.
func (l *life) close() {
	l.births.Lock()
	l.end()
	l.births.Unlock()
	l.running.Wait()
}
