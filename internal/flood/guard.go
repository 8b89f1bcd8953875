package caddymodule

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// What a flood guard lets through of the lines of one kind: so many at once, and
// one a second after that.
const (
	floodBurst = 10
	floodEvery = time.Second
)

// floodGuard is a log output that leaves lines out when too many of one kind come:
// an upstream that is down fails as many requests as a cluster can send. A kind is a
// message about one upstream and one class of failure. Only warnings and errors are
// counted; the next one that is let through tells how many were left out before it.
type floodGuard struct {
	slog.Handler

	kinds *floodKinds
}

type floodKinds struct {
	mu   sync.Mutex
	seen map[floodKind]*flood
}

type floodKind struct{ message, upstream, class string }

// flood is what came of one kind.
type flood struct {
	// even is when the kind would have had its lines at one each floodEvery.
	even       time.Time
	suppressed int
}

func newFloodGuard(h slog.Handler) floodGuard {
	return floodGuard{h, &floodKinds{seen: map[floodKind]*flood{}}}
}

// Handle implements slog.Handler. The values of ctx are not passed on, for the
// reason that newestLog has, and because Caddy adds a stack trace to each error that
// is logged in the context of a request.
func (g floodGuard) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		kind := floodKind{message: r.Message}
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "upstream":
				kind.upstream = a.Value.String()
			case "class":
				kind.class = a.Value.String()
			}
			return true
		})
		suppressed, ok := g.kinds.admit(kind, r.Time)
		if !ok {
			return nil
		}
		if suppressed > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("suppressed", suppressed))
		}
	}
	return g.Handler.Handle(context.Background(), r)
}

func (k *floodKinds) admit(kind floodKind, now time.Time) (suppressed int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.seen[kind]
	if f == nil {
		f = new(flood)
		k.seen[kind] = f
	}
	if f.even.Before(now) {
		f.even = now
	}
	if f.even.Sub(now) > (floodBurst-1)*floodEvery {
		f.suppressed++
		return 0, false
	}
	f.even = f.even.Add(floodEvery)
	suppressed, f.suppressed = f.suppressed, 0
	return suppressed, true
}

// WithAttrs implements slog.Handler.
func (g floodGuard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return floodGuard{g.Handler.WithAttrs(attrs), g.kinds}
}

// WithGroup implements slog.Handler.
func (g floodGuard) WithGroup(name string) slog.Handler {
	return floodGuard{g.Handler.WithGroup(name), g.kinds}
}
