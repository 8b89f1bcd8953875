package pulls

import (
	"context"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// maxRefused is how many lines a minute tell of pulls that failed: names can be made up.
const maxRefused = 20

// refused thins out the lines about pulls that failed. Guarded by the lock of its Tracker.
type refused struct {
	since       time.Time
	told, quiet int
}

// admit reports whether there is to be a line, and how many there were none for before.
func (r *refused) admit(now time.Time) (quiet int, ok bool) {
	if now.Sub(r.since) >= time.Minute {
		r.since, r.told = now, 0
	}
	if r.told == maxRefused {
		r.quiet++
		return 0, false
	}
	r.told++
	quiet, r.quiet = r.quiet, 0
	return quiet, true
}

// log writes the line about a pull.
func (t *Tracker) log(p operate.Pull) {
	message, quiet := "image pulled", 0
	switch p.Result {
	case operate.PullAborted:
		message = "image not pulled, the client left"
	case operate.PullFailed:
		message = "image not pulled"
		t.mu.Lock()
		n, ok := t.refused.admit(t.o.Now())
		t.mu.Unlock()
		if quiet = n; !ok {
			return
		}
	}
	attrs := []slog.Attr{
		slog.String("image", p.Image), slog.String("client", p.Client), slog.String("user", p.User), slog.String("platform", p.Platform),
		slog.String("cache", p.Cache), slog.Int64("bytes", p.Bytes), slog.Int64("cache_bytes", p.CacheBytes),
		slog.Int64("prefetched_bytes", p.PrefetchedBytes), slog.Int64("upstream_bytes", p.UpstreamBytes),
		slog.Float64("seconds", p.Ended.Sub(p.Began).Seconds()), slog.Float64("look_up", p.Seconds.LookUp), slog.Float64("token", p.Seconds.Token),
		slog.Float64("queue", p.Seconds.Queue), slog.Float64("first_byte", p.Seconds.FirstByte), slog.Float64("transfer", p.Seconds.Transfer),
		slog.Float64("client_wait", p.Seconds.Client),
	}
	if p.Error != "" {
		attrs = append(attrs, slog.String("error", p.Error))
	}
	if quiet > 0 {
		attrs = append(attrs, slog.Int("suppressed", quiet))
	}
	t.o.Log.LogAttrs(context.Background(), slog.LevelInfo, message, attrs...)
}
