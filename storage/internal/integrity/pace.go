package integrity

import (
	"context"
	"sync"
	"time"
)

// ScrubRate is the default rate of a scrub in bytes per second.
const ScrubRate = 20_000_000

// Pace keeps what is read of blobs to a rate; nil keeps to none. It is safe for
// concurrent use: all who read by one share its rate.
type Pace struct {
	rate int64

	mu    sync.Mutex
	begun time.Time
	spent int64
}

// NewPace returns the pace of a rate in bytes per second; 0 = none.
func NewPace(rate int64) *Pace {
	if rate == 0 {
		return nil
	}
	return PaceOf(rate)
}

// PaceOf returns the pace of a rate as a scrub has it: 0 = ScrubRate, less = none.
func PaceOf(rate int64) *Pace {
	if rate == 0 {
		rate = ScrubRate
	}
	if rate < 0 {
		return nil
	}
	return &Pace{rate: rate}
}

// wait waits until so many bytes more may be read.
func (p *Pace) wait(ctx context.Context, bytes int64) error {
	if p == nil {
		return ctx.Err()
	}
	ahead := p.spend(bytes)
	if ahead <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(ahead)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spend counts bytes, and returns how long to wait before they are read.
func (p *Pace) spend(bytes int64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	ahead := time.Duration(float64(p.spent)/float64(p.rate)*float64(time.Second)) - now.Sub(p.begun)
	if p.begun.IsZero() || ahead < -time.Second {
		// What was not used is not saved up for a burst.
		p.begun, p.spent, ahead = now, 0, 0
	}
	p.spent += bytes
	return ahead
}
