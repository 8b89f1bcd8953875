package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/mapfault"
)

const (
	// maxOpenings is how many deaths in a row while opening the index condemn
	// it. Badger panics in goroutines of its own over some damage, which no
	// caller can recover from.
	maxOpenings = 2
	// openTries is how often one opening tries: one that found what a crash left
	// behind has cleared it away.
	openTries = 3
	// indexRetry is how often an index that could not be opened is tried again,
	// indexLook how often it is looked whether what kept it from that is over.
	indexRetry = 30 * time.Second
	indexLook  = 2 * time.Second
	// badMeta begins the name of an index that was set aside.
	badMeta = metaDir + ".bad-"
)

// ErrNoIndex means that the index cannot be opened at present, so that tags,
// manifests and links cannot be recorded. Nor are they known, unless it was closed well
// and could be opened for reading only. Blobs can be opened and stored all the same. It
// goes on being tried in the background.
var ErrNoIndex = errors.New("index is not open")

var errDamaged = errors.New("some of it could not be read any more")

var errCrashLoop = fmt.Errorf("the last %d starts died while opening it", maxOpenings)

// openIndex opens the index. One that is damaged is set aside and begun anew. An
// error means that there is none at present, through no fault of its own.
func (s *Store) openIndex(ctx context.Context) error {
	if s.quiet {
		// Nothing is removed to make any.
		if err := s.space.room(); err != nil {
			return err
		}
	} else if err := s.makeRoom(ctx); err != nil {
		return err
	}
	if err := s.makeLayout(); err != nil {
		return err
	}
	if s.state.file == nil {
		s.beginRun(s.root.bootID())
	}
	var damage error
	switch {
	case s.rebuild:
		damage = errRebuild
	case s.state.openings >= maxOpenings:
		damage = errCrashLoop
	case s.state.damaged:
		damage = errDamaged
	default:
		if damage = s.tryIndex(); damage == nil || !damaged(damage) {
			return damage
		}
	}
	if s.inspect {
		return damage
	}
	if err := s.setIndexAside(damage); err != nil {
		return errors.Join(damage, err)
	}
	s.rebuild = false
	return s.tryIndex()
}

// tryIndex opens what lies in meta/. The state says so meanwhile, in case the
// process does not live to see the end.
func (s *Store) tryIndex() error {
	s.noteState(func(st *state) { st.openings++ })
	if err := mapfault.Survive(); err != nil {
		s.log.Warn("a full disk may end the process", "error", err)
	}
	s.faults.Store(s.unbacked())
	db, err := s.openBadger()
	var seen, written int64
	if err == nil {
		if seen, written, err = probe(db); err == nil && small(db) {
			err = verify(db)
		}
		if err != nil {
			err = errors.Join(err, closeWithin(db, openPatience))
		}
	}
	s.noteState(func(st *state) {
		st.openings = 0
		if err == nil {
			if seen < st.probe {
				st.restore, st.unaccounted = true, true
				s.log.Error("index has lost what was written last")
			}
			st.probe = written
		}
	})
	if err != nil {
		return err
	}
	s.setIndex(db)
	return nil
}

// openBadger opens Badger, and tries again where that helps.
func (s *Store) openBadger() (db *badger.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	if err := s.root.MkdirAll(metaDir, 0o700); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		if err := removeEmpty(s.root); err != nil {
			return nil, err
		}
		db, err = openBadger(filepath.Join(s.path, metaDir), s.log, &s.lost)
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
		raw, err := get(txn, probeKey)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if f := open(raw); err == nil {
			if seen = f.int(); !f.end() {
				seen = 0
			}
		}
		written = max(seen, 0) + 1
		return txn.Set(probeKey, seal(appendInt(begin(8), written)))
	})
	if err == nil {
		err = db.Sync()
	}
	if err == nil {
		err = db.View(func(txn *badger.Txn) error {
			raw, err := get(txn, probeKey)
			if err == nil && !bytes.Equal(raw, seal(appendInt(begin(8), written))) {
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

// setIndexAside renames meta/ for whoever wants to find out what happened. Of those that were set aside before, none is kept.
func (s *Store) setIndexAside(damage error) error {
	s.noteState(func(st *state) { st.restore, st.probe, st.unaccounted = true, 0, true })
	entries, err := s.root.ReadDir(".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), badMeta) {
			if err := s.root.RemoveAll(e.Name()); err != nil {
				s.log.Warn("remove index that was set aside earlier", "name", e.Name(), "error", err)
			}
		}
	}
	aside := badMeta + s.now().UTC().Format("20060102T150405Z")
	if err := s.root.Rename(metaDir, aside); err != nil {
		// Some file systems do it, and cannot say so.
		if _, lerr := s.root.Lstat(metaDir); !errors.Is(lerr, fs.ErrNotExist) {
			return err
		}
	}
	s.noteState(func(st *state) { st.openings, st.damaged = 0, false })
	s.usage.indexRebuilds.Add(1)
	s.setIndexError(fmt.Errorf("index was set aside as %s and begun anew: %w", aside, damage))
	s.log.Error("index cannot be opened and is begun anew", "kept", aside, "error", damage)
	return nil
}

// noteState changes the state. That it cannot be written down is no reason to
// stop: only a crash would miss it.
func (s *Store) noteState(change func(*state)) {
	if err := s.state.write(func(st *state) {
		change(st)
		st.wall = s.now()
	}); err != nil {
		s.log.Warn("state not recorded", "error", err)
	}
}

// setIndex makes the index known to all.
func (s *Store) setIndex(db *badger.DB) {
	// The count of what is there begins before anything can be added to it.
	s.present = db.NewTransaction(false)
	s.db.Store(db)
}

// setIndexError records why there is no index, or a new one.
func (s *Store) setIndexError(err error) {
	text := err.Error()
	s.usage.indexError.Store(&text)
}

// begin starts a reading transaction, or returns ErrNoIndex.
func (s *Store) begin() (*badger.Txn, error) {
	if db := s.db.Load(); db != nil {
		return db.NewTransaction(false), nil
	}
	if db := s.readable.Load(); db != nil {
		return db.NewTransaction(false), nil
	}
	return nil, ErrNoIndex
}
