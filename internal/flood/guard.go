// Package flood keeps a log from being flooded by one kind of trouble.
package flood

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// Rate is what a guard lets through of the lines of one kind: so many at once, and one
// each Every after that.
type Rate struct {
	Burst int
	Every time.Duration
}

// Guard is a log output that leaves lines out when too many of one kind come:
// an upstream that is down fails as many requests as a cluster can send. A kind is a
// message about one upstream and one class of failure. Only warnings and errors are
// counted; the next one that is let through tells how many were left out before it.
type Guard struct {
	slog.Handler

	kinds *kinds
}

type kinds struct {
	rate Rate
	mu   sync.Mutex
	seen map[kind]*flood
}

type kind struct{ message, upstream, class string }

// flood is what came of one kind.
type flood struct {
	// even is when the kind would have had its lines at one each Every.
	even       time.Time
	suppressed int
}

// New returns a guard of a log output.
func New(h slog.Handler, r Rate) Guard {
	return Guard{h, &kinds{rate: r, seen: map[kind]*flood{}}}
}

// Handle implements slog.Handler. The values of ctx are not passed on: servers keep in
// there what must not be read once the request is over, or make each error in it longer.
func (g Guard) Handle(_ context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		of := kind{message: r.Message}
		r.Attrs(func(a slog.Attr) bool {
			switch a.Key {
			case "upstream":
				of.upstream = a.Value.String()
			case "class":
				of.class = a.Value.String()
			}
			return true
		})
		suppressed, ok := g.kinds.admit(of, r.Time)
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

func (k *kinds) admit(of kind, now time.Time) (suppressed int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.seen[of]
	if f == nil {
		f = new(flood)
		k.seen[of] = f
	}
	if f.even.Before(now) {
		f.even = now
	}
	if f.even.Sub(now) > time.Duration(k.rate.Burst-1)*k.rate.Every {
		f.suppressed++
		return 0, false
	}
	f.even = f.even.Add(k.rate.Every)
	suppressed, f.suppressed = f.suppressed, 0
	return suppressed, true
}

// WithAttrs implements slog.Handler.
func (g Guard) WithAttrs(attrs []slog.Attr) slog.Handler {
	return Guard{g.Handler.WithAttrs(attrs), g.kinds}
}

// WithGroup implements slog.Handler.
func (g Guard) WithGroup(name string) slog.Handler {
	return Guard{g.Handler.WithGroup(name), g.kinds}
}
