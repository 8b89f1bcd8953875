package flood

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A flood of one kind is thinned out, and hides no line of another kind.
func TestFloodGuard(t *testing.T) {
	const (
		burst = 10
		every = time.Second
	)
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := slog.New(New(slog.NewTextHandler(&out, nil), Rate{burst, every})).With("site", 1)
		lines := func() int {
			defer out.Reset()
			return strings.Count(out.String(), "\n")
		}
		for range 1000 {
			log.Warn("serving stale", "upstream", "docker.io", "class", "connect")
		}
		if n := lines(); n != burst {
			t.Errorf("%d lines of 1000 at once, want %d", n, burst)
		}
		log.Warn("serving stale", "upstream", "ghcr.io", "class", "connect")
		log.Warn("serving stale", "upstream", "docker.io", "class", "timeout")
		log.Error("request failed", "upstream", "docker.io", "class", "connect")
		if n := lines(); n != 3 {
			t.Errorf("%d lines of 3 other kinds", n)
		}
		for range 100 {
			log.Info("started", "upstream", "docker.io")
		}
		if n := lines(); n != 100 {
			t.Errorf("%d lines of 100 that are no trouble", n)
		}
		for range 30 {
			time.Sleep(every / 10)
			log.Warn("serving stale", "upstream", "docker.io", "class", "connect")
		}
		if text := out.String(); !strings.Contains(text, "suppressed=999") || !strings.Contains(text, "suppressed=9\n") {
			t.Errorf("what was left out is not told: %s", text)
		}
		if n := lines(); n != 3 {
			t.Errorf("%d lines in 3 s of flood, want 3", n)
		}
		time.Sleep(time.Minute)
		for range 1000 {
			log.Warn("serving stale", "upstream", "docker.io", "class", "connect")
		}
		if n := lines(); n != burst {
			t.Errorf("%d lines after a quiet minute, want %d", n, burst)
		}
	})
}
