package index

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/mapfault"
	"github.com/pullgate/pullgate/storage/internal/record"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// MaxOpenings is how many deaths in a row while opening the index condemn
	// it. Badger panics in goroutines of its own over some damage, which no
	// caller can recover from.
	MaxOpenings = 2
	// openTries is how often one opening tries: one that found what a crash left
	// behind has cleared it away.
	openTries = 3
	// BadMeta begins the name of an index that was set aside.
	BadMeta = volume.MetaDir + ".bad-"
)

var errDamaged = errors.New("some of it could not be read any more")

// errRebuild is why an index is begun anew that somebody wants rebuilt.
var errRebuild = errors.New("that was asked for")

// ErrCrashLoop says that starts died while they opened the index.
var ErrCrashLoop = fmt.Errorf("the last %d starts died while opening it", MaxOpenings)

// Open opens the index. One that is damaged is set aside and begun anew, unless it is
// only inspected: then that is the error. Otherwise, an error means that there is none
// at present, through no fault of its own. The directory of the store is complete.
func (x *Index) Open(inspect bool) error {
	damage := x.condemned()
	if damage == nil {
		if damage = x.try(); damage == nil || !damaged(damage) {
			return damage
		}
	}
	if inspect {
		return damage
	}
	if err := x.setAside(damage); err != nil {
		return errors.Join(damage, err)
	}
	x.Rebuild = false
	return x.try()
}

// condemned returns why the index is not even tried.
func (x *Index) condemned() error {
	state := x.State()
	switch {
	case x.Rebuild:
		return errRebuild
	case state.Openings >= MaxOpenings:
		return ErrCrashLoop
	case state.Damaged:
		return errDamaged
	}
	return nil
}

// try opens what lies in meta/. The state says so meanwhile, in case the
// process does not live to see the end.
func (x *Index) try() error {
	x.Note(func(st *volume.State) { st.Openings++ })
	if err := mapfault.Survive(); err != nil {
		x.Log.Warn("a full disk may end the process", "error", err)
	}
	x.faults.Store(x.Unbacked())
	db, err := x.openBadger()
	var seen, written int64
	if err == nil {
		if seen, written, err = probe(db); err == nil && small(db) {
			err = verify(db)
		}
		if err != nil {
			err = errors.Join(err, closeWithin(db, openPatience))
		}
	}
	x.Note(func(st *volume.State) {
		st.Openings = 0
		if err == nil {
			if seen < st.Probe {
				st.Restore, st.Unaccounted = true, true
				x.Log.Error("index has lost what was written last")
			}
			st.Probe = written
		}
	})
	if err != nil {
		return err
	}
	// The count of what is there begins before anything can be added to it.
	x.opened = &Txn{db.NewTransaction(false)}
	x.db.Store(db)
	return nil
}

// openBadger opens Badger, and tries again where that helps.
func (x *Index) openBadger() (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if err := x.Root.MkdirAll(volume.MetaDir, 0o700); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if err := removeEmpty(x.Root); err != nil {
			return nil, err
		}
		db, err = openBadger(filepath.Join(x.Path, volume.MetaDir), x.Log, &x.lost)
		if err == nil || try == openTries || !strings.Contains(err.Error(), "Create a new file") {
			return db, err
		}
	}
}

// probeKey is in a table of its own, which no snapshot holds.
var probeKey = []byte("\x00probe")

// probe finds out whether the index can be read and written, and returns the
// number it held and the one it holds now.
func probe(db *badger.DB) (seen, written int64, err error) {
	err = db.Update(func(txn *badger.Txn) error {
		t := &Txn{txn}
		raw, err := t.Get(probeKey)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if f := record.Open(raw); err == nil {
			if seen = f.Int(); !f.End() {
				seen = 0
			}
		}
		written = max(seen, 0) + 1
		return txn.Set(probeKey, record.Seal(record.AppendInt(record.Begin(8), written)))
	})
	if err == nil {
		err = db.Sync()
	}
	if err == nil {
		err = db.View(func(txn *badger.Txn) error {
			raw, err := (&Txn{txn}).Get(probeKey)
			if err == nil && !bytes.Equal(raw, record.Seal(record.AppendInt(record.Begin(8), written))) {
				err = errors.New("reads other than what was written")
			}
			return err
		})
	}
	if err != nil {
		return 0, 0, fmt.Errorf("probe index: %w", err)
	}
	return seen, written, nil
}

// setAside renames meta/ for whoever wants to find out what happened. Of
// those that were set aside before, none is kept.
func (x *Index) setAside(damage error) error {
	x.Note(func(st *volume.State) { st.Restore, st.Probe, st.Unaccounted = true, 0, true })
	entries, err := x.Root.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), BadMeta) {
			if err := x.Root.RemoveAll(e.Name()); err != nil {
				x.Log.Warn("remove index that was set aside earlier", "name", e.Name(), "error", err)
			}
		}
	}
	aside := BadMeta + x.Now().UTC().Format("20060102T150405Z")
	if err := x.Root.Rename(volume.MetaDir, aside); err != nil {
		// Some file systems do it, and cannot say so.
		if _, lerr := x.Root.Lstat(volume.MetaDir); !errors.Is(lerr, fs.ErrNotExist) {
			return err
		}
	}
	x.Note(func(st *volume.State) { st.Openings, st.Damaged = 0, false })
	x.rebuilds.Add(1)
	x.SetTrouble(fmt.Errorf("index was set aside as %s and begun anew: %w", aside, damage))
	if errors.Is(damage, errRebuild) {
		x.Log.Info("index is begun anew, as was asked for", "kept", aside)
	} else {
		x.Log.Error("index cannot be opened and is begun anew", "kept", aside, "error", damage)
	}
	return nil
}
