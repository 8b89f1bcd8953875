package storage

import (
	"log/slog"
	"testing"
	"time"
)

// An index that there was no room for is opened soon after there is, however
// seldom it is tried again.
func TestIndexOpensOnceThereIsRoom(t *testing.T) {
	t.Parallel()
	log := newMessages()
	s := openTest(t, Options{
		Path: filled(t, 1), Logger: slog.New(log), seams: seams{retry: time.Hour, volume: func() (int64, int64, error) { return 1000, 100 << 30, nil }},
	})
	setVolume(s, 50<<30, 100<<30)
	log.wait(t, "index is open")
	wantWorking(t, s)
}
