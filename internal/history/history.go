// Package history keeps how much a gateway does, step by step: for each minute of the
// last day, and for each hour of the last two weeks. It is written down now and then, so
// that it outlives restarts.
package history

import (
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// saveEvery is how often it is written down, if anything was done: what a crash can lose.
const saveEvery = 10 * time.Minute

// Options make a History. All fields are needed.
type Options struct {
	// Totals returns what was counted so far, and what the blobs take.
	Totals func() Point
	// Load returns what Save has got last; fs.ErrNotExist if nothing.
	Load func() ([]byte, error)
	Save func([]byte) error
	Now  func() time.Time
	Log  *slog.Logger
}

// History is that of one store. Its methods are safe for concurrent use; nil has no
// points. One goroutine looks at the totals and writes.
type History struct {
	o    Options
	stop chan struct{} // closed to end the goroutine
	done chan struct{} // closed by that

	mu             sync.Mutex
	minutes, hours series
}

// Open goes on with what was written down. What is damaged is no error: it begins anew.
// Whoever opens it closes it.
func Open(o Options) *History {
	h := &History{o: o, stop: make(chan struct{}), done: make(chan struct{})}
	h.load()
	go h.keep(h.totals())
	return h
}

// Close writes it down. Totals, Load and Save are not called after that.
func (h *History) Close() {
	close(h.stop)
	<-h.done
}

// Points returns the points of a step, Fine or Coarse, since a time. The last minute
// counts once it is over.
func (h *History) Points(step time.Duration, since time.Time) []Point {
	if h == nil {
		return nil
	}
	now := h.o.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if step == Coarse {
		return h.hours.between(since, now)
	}
	return h.minutes.between(since, now)
}

// Sum returns how much was done in a time of at most a day up to now.
func (h *History) Sum(last time.Duration) (sum Point) {
	if h == nil {
		return sum
	}
	now := h.o.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.minutes.between(now.Add(-last), now) {
		sum.add(p)
	}
	return sum
}

func (h *History) load() {
	var c content
	raw, err := h.o.Load()
	if err == nil {
		c, err = decode(raw)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.o.Log.Warn("history not read, it begins anew", "error", err)
	}
	h.minutes, h.hours = minutesOf(c.Minutes), hoursOf(c.Hours)
}

// totals returns the totals, with the time that they are of.
func (h *History) totals() Point {
	p := h.o.Totals()
	p.Time = h.o.Now()
	return p
}

// keep looks at the totals at the end of each minute, until it is told to stop. last are
// those before.
func (h *History) keep(last Point) {
	defer close(h.done)
	saved, changed := last.Time, false
	timer := time.NewTimer(untilNext(last.Time))
	defer timer.Stop()
	for stopped := false; !stopped; {
		select {
		case <-timer.C:
		case <-h.stop:
			stopped = true
		}
		now := h.totals()
		amounts := now.since(last)
		h.add(last.Time, amounts, now.Time)
		changed = changed || !amounts.idle()
		last = now
		if stopped || changed && now.Time.Sub(saved).Abs() >= saveEvery {
			h.save()
			saved, changed = now.Time, false
		}
		timer.Reset(untilNext(now.Time))
	}
}

// untilNext returns how long the minute lasts.
func untilNext(now time.Time) time.Duration { return now.Truncate(Fine).Add(Fine).Sub(now) }

func (h *History) add(at time.Time, amounts Point, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.minutes.add(at, amounts, now)
	h.hours.add(at, amounts, now)
}

func (h *History) save() {
	h.mu.Lock()
	c := content{slices.Clone(h.minutes.points), slices.Clone(h.hours.points)}
	h.mu.Unlock()
	raw, err := encode(c)
	if err == nil {
		err = h.o.Save(raw)
	}
	if err != nil {
		// The next time all of it is written again.
		h.o.Log.Info("history not written down", "error", err)
	}
}
