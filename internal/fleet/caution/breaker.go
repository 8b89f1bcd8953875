package caution

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

// Breaker keeps a gateway from asking a bucket that fails. There is one for reads and one
// for writes: a bucket that is full is read on. Safe for concurrent use.
type Breaker struct {
	// Probe finds out whether the bucket is well again, until Context ends.
	Probe   func(context.Context) error
	Context context.Context
	// Start starts a goroutine.
	Start func(func())
	// Told is called when it opens or closes.
	Told func(open bool, err error)

	mu     sync.Mutex
	fails  int
	mended chan struct{} // closed when the bucket is well again; nil = it is
	state  State
}

// State is how a breaker stands.
type State struct {
	// Opened is since when the bucket is not asked; zero = it is.
	Opened time.Time
	// Err is the last failure, and Failed when that was; nil = there was none.
	Err    error
	Failed time.Time
}

// ErrSilent is for what gives no answer in time.
var ErrSilent error = silence{}

type silence struct{}

func (silence) Error() string { return "the bucket is silent for too long" }

// Timeout is as in net.Error.
func (silence) Timeout() bool { return true }

// Open returns what is closed once the bucket may be asked again; nil = it may be now.
func (b *Breaker) Open() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mended
}

// Await waits until the bucket may be asked. It reports false if ctx ends first.
func (b *Breaker) Await(ctx context.Context) bool {
	if mended := b.Open(); mended != nil {
		select {
		case <-mended:
		case <-ctx.Done():
		}
	}
	return ctx.Err() == nil
}

// Note notes how the bucket has answered.
func (b *Breaker) Note(err error) {
	if b.opens(err) {
		b.Told(true, err)
		b.Start(b.mend)
	}
}

// opens counts a failure, and reports whether it is one too many.
func (b *Breaker) opens(err error) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.fails = 0
		return false
	}
	b.state.Err, b.state.Failed = err, time.Now()
	if b.fails++; b.fails < maxFails || b.mended != nil {
		return false
	}
	b.mended, b.state.Opened = make(chan struct{}), b.state.Failed
	return true
}

// mend probes the bucket until it is well.
func (b *Breaker) mend() {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-b.Context.Done():
			return
		}
		if err := b.Probe(b.Context); err != nil {
			b.mu.Lock()
			b.state.Err, b.state.Failed = err, time.Now()
			b.mu.Unlock()
			continue
		}
		b.mu.Lock()
		b.fails = 0
		close(b.mended)
		b.mended, b.state.Opened = nil, time.Time{}
		b.mu.Unlock()
		b.Told(false, nil)
		return
	}
}

// State returns how it stands.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}
