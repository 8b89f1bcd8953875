package upstream

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// lingering is how long a GET of a blob that has ended may still count at the
// registry, which notices the end of a connection in its own time.
const lingering = 6 * time.Second

// pulseAge is how long a registry that has answered a ping counts as alive.
const pulseAge = 5 * time.Second

// inflight counts the GETs of blobs that an endpoint works on, up to the ends of their
// bodies. What it refuses meanwhile may well be one too many at a time, which says
// nothing of the requests that come after them. The zero value is ready. Safe for
// concurrent use.
type inflight struct {
	mu   sync.Mutex
	n    int
	last time.Time // when one has ended that was served
}

// enter counts a GET in. leave counts it out; later calls do nothing.
func (f *inflight) enter(now func() time.Time) (leave func(served bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	var once sync.Once
	return func(served bool) {
		once.Do(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.n--
			if served {
				f.last = now()
			}
		})
	}
}

// crowded reports whether a GET that is counted in has others beside it, or had a
// moment ago.
func (f *inflight) crowded(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := now.Sub(f.last)
	return f.n > 1 || since >= 0 && since < lingering
}

// judge marks a refusal of a GET that was one too many, perhaps: to repeat it at once
// would not help, and it says nothing of the registry's health.
func (f *inflight) judge(ctx context.Context, host string, err error, now time.Time) error {
	own := *wire.AsFailure(ctx, host, err)
	switch own.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden:
		if f.crowded(now) {
			own.Crowded, own.Again = true, false
		}
	}
	return &own
}

// counted is the end of a body that is counted out with it.
func counted(cancel context.CancelCauseFunc, leave func(served bool)) context.CancelCauseFunc {
	return func(cause error) {
		leave(true)
		cancel(cause)
	}
}

// alive reports whether a registry answers at all, with whatever status: then a blob
// that does not come is one that takes long. Those who ask at a time share a ping.
func (e *endpoint) alive(ctx context.Context) bool {
	_, _, err := e.pulse.Get(ctx, "", func(ctx context.Context) (struct{}, time.Duration, error) {
		_, err := e.registry.Ping(ctx)
		return struct{}{}, pulseAge, err
	})
	return err == nil
}
