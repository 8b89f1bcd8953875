package index

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
)

// Also who logs at debug level hears of Badger only what it warns of.
func TestBadgerKeepsHouseQuietly(t *testing.T) {
	var log bytes.Buffer
	l := badgerLogger{slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})), new(atomic.Bool)}
	l.Infof("All %d tables opened", 3)
	l.Debugf("Value log %d", 1)
	if log.Len() > 0 {
		t.Errorf("it logs %s", &log)
	}
	l.Warningf("a warning\n")
	if !strings.Contains(log.String(), `level=WARN msg="badger: a warning"`) {
		t.Errorf("it logs %q", &log)
	}
}
