package fleet

import (
	"context"
	"sync"
	"time"
)

const (
	// maxFails is after how many failures in a row the bucket is not asked any more.
	maxFails = 3
	// probeEvery is how often it is looked at then. Nobody waits for that.
	probeEvery = 5 * time.Second
)

// breaker keeps a gateway from asking a bucket that fails. There is one for reads and one
// for writes: a bucket that is full is read on. Safe for concurrent use.
type breaker struct {
	probe func(context.Context) error
	ctx   context.Context // of the probing
	start func(func())    // starts a goroutine
	told  func(open bool, err error)

	mu     sync.Mutex
	fails  int
	mended chan struct{} // closed when the bucket is well again; nil = it is
	err    error         // the last failure
}

// open returns what is closed once the bucket may be asked again; nil = it may be now.
func (b *breaker) open() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mended
}

// await waits until the bucket may be asked. It reports false if ctx ends first.
func (b *breaker) await(ctx context.Context) bool {
	if mended := b.open(); mended != nil {
		select {
		case <-mended:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// note notes how the bucket has answered.
func (b *breaker) note(err error) {
	if b.opens(err) {
		b.told(true, err)
		b.start(b.mend)
	}
}

// opens counts a failure, and reports whether it is one too many.
func (b *breaker) opens(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.fails = 0
		return false
	}
	b.err = err
	if b.fails++; b.fails < maxFails || b.mended != nil {
		return false
	}
	b.mended = make(chan struct{})
	return true
}

// mend probes the bucket until it is well.
func (b *breaker) mend() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			return
		}
		if err := b.probe(b.ctx); err != nil {
			b.mu.Lock()
			b.err = err
			b.mu.Unlock()
			continue
		}
		b.mu.Lock()
		b.fails = 0
		close(b.mended)
		b.mended = nil
		b.mu.Unlock()
		b.told(false, nil)
		return
	}
}

// trouble returns why the bucket is not asked; nil = it is.
func (b *breaker) trouble() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mended == nil {
		return nil
	}
	return b.err
}
