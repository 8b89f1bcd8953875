package index

import (
	"context"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// MaxValue is the largest value in bytes that goes into the index. It stays
// below Badger's value threshold, so that the value log, which a power failure
// can lose while the keys survive, is never used.
const MaxValue = 512 << 10

// openBadger opens the index. The lock of the store is held, and there is room.
// What Badger says of an index that is lost interests nobody.
func openBadger(dir string, log *slog.Logger, lost *atomic.Bool) (*badger.DB, error) {
	db, err := badger.Open(indexOptions(dir, log, lost))
	if err != nil && strings.Contains(err.Error(), "Cannot acquire directory lock") {
		// Where the store has no lock of its own, this is it. Elsewhere an
		// earlier store of this process waits for room to close.
		return nil, fmt.Errorf("%w: %w", volume.ErrLocked, err)
	}
	return db, err
}

func indexOptions(dir string, log *slog.Logger, lost *atomic.Bool) badger.Options {
	return badger.DefaultOptions(dir).
		WithLogger(badgerLogger{log, lost}).
		WithMetricsEnabled(false).
		// The writer syncs each second; nothing is lost by a mere crash.
		WithSyncWrites(false).
		// One goroutine writes.
		WithDetectConflicts(false).
		WithValueThreshold(1 << 20).
		// A transaction may be 15 % of this, and has to hold a value of the
		// threshold.
		WithMemTableSize(16 << 20).
		WithNumMemtables(2).
		WithNumLevelZeroTables(4).
		WithNumLevelZeroTablesStall(12).
		WithNumCompactors(2).
		WithNumGoroutines(2).
		WithBaseTableSize(4 << 20).
		WithBaseLevelSize(16 << 20).
		// A sparse file of twice this size is made at each open.
		WithValueLogFileSize(16 << 20).
		// Uncompressed tables are served from the page cache, and no block
		// cache is needed. Compression without one panics.
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(64 << 20).
		WithChecksumVerificationMode(options.OnBlockRead)
}

// removeEmpty removes memtables and value logs that a crash left without a
// byte: Badger v4.9 refuses to open beside them.
func removeEmpty(root volume.Files) error {
	names, err := named(root, volume.MetaDir, logSuffix, ".vlog")
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Size() > 0 {
			continue
		}
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// named returns the files of a directory whose names end in one of the suffixes.
func named(root volume.Files, dir string, suffixes ...string) ([]string, error) {
	entries, err := root.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if slices.Contains(suffixes, path.Ext(e.Name())) {
			names = append(names, path.Join(dir, e.Name()))
		}
	}
	return names, nil
}

// badgerLogger passes on what Badger warns of. How it keeps house is of no interest to
// who runs a server, nor to who looks for a fault in what is around it.
type badgerLogger struct {
	to   *slog.Logger
	lost *atomic.Bool
}

func (l badgerLogger) Errorf(format string, args ...any)   { l.log(slog.LevelError, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { l.log(slog.LevelWarn, format, args) }
func (badgerLogger) Infof(string, ...any)                  {}
func (badgerLogger) Debugf(string, ...any)                 {}

func (l badgerLogger) log(level slog.Level, format string, args []any) {
	if l.lost.Load() {
		level = slog.LevelDebug
	}
	l.to.Log(context.Background(), level, "badger: "+strings.TrimSpace(fmt.Sprintf(format, args...)))
}
