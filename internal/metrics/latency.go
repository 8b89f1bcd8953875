package metrics

import (
	"slices"
	"sync"
	"time"
)

// recentRequests is how many durations are kept of each upstream.
const recentRequests = 256

// latencies are how long the last requests to each upstream took. The zero value is
// ready. Safe for concurrent use.
type latencies struct {
	mu     sync.Mutex
	byName map[string]*latencyRing
}

type latencyRing struct {
	last  [recentRequests]time.Duration
	count int // of all there were
}

func (l *latencies) add(name string, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.byName[name]
	if r == nil {
		if l.byName == nil {
			l.byName = map[string]*latencyRing{}
		}
		r = &latencyRing{}
		l.byName[name] = r
	}
	r.last[r.count%recentRequests] = took
	r.count++
}

// quantiles returns the median, and what 95 of 100 requests did not exceed; zero if
// there were none.
func (l *latencies) quantiles(name string) (p50, p95 time.Duration) {
	l.mu.Lock()
	var last []time.Duration
	if r := l.byName[name]; r != nil {
		last = slices.Clone(r.last[:min(r.count, recentRequests)])
	}
	l.mu.Unlock()
	if len(last) == 0 {
		return 0, 0
	}
	slices.Sort(last)
	at := func(percent int) time.Duration { return last[(len(last)*percent+99)/100-1] } // the nearest rank
	return at(50), at(95)
}
