package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sync/singleflight"

	"github.com/pullgate/pullgate/internal/oci"
)

// ErrClosed is what every method of a closed Store returns.
var ErrClosed = errors.New("storage is closed")

const (
	// recentRecords are about 8 MiB, recentManifests 16 MiB at worst. A hit of a
	// blob needs two records.
	recentRecords       = 32 << 10
	recentManifests     = 512
	recentManifestBytes = 32 << 10
)

// restoreWait is how long Open waits for what a damaged index held to be
// restored.
const restoreWait = 5 * time.Second

// Store is the content of one directory. Its methods are safe for concurrent
// use, and return ErrClosed after Close.
type Store struct {
	path string
	log  *slog.Logger
	now  func() time.Time
	born time.Time // the time of the opening
	// uptime is the time since then, whatever becomes of the clock.
	uptime func() time.Duration

	lock  file
	root  files
	state *stateFile
	// db is nil until the index is open, and never again after that.
	db       atomic.Pointer[badger.DB]
	readable atomic.Pointer[badger.DB] // see openReadable; nil where db was open at once
	present  *badger.Txn               // the index as it was opened, for the house keeper to count
	scarce   bool                      // inodes were, when keepLimits last looked
	told     int64                     // how many of its blobs others have heard of
	index    *writer
	damage   atomic.Pointer[error] // the first error that reading the index met
	saved    int64                 // writer.changes as of the last snapshot
	retry    time.Duration
	patience time.Duration
	way      time.Duration
	save     time.Duration
	rest     time.Duration
	panicked func()
	// What the options of these names say; rebuild holds until it is done.
	quiet, inspect, rebuild bool

	space        *space
	uses         uses
	parts        parts
	manifestUses uses
	opened       opened

	suspects  suspects
	verifying singleflight.Group // by id
	placing   sync.Mutex         // held to move a blob to its place, or to quarantine/
	// unsynced are the blobs whose bytes may not have got to the disk yet, and the
	// end of an earlier run that left such ones; see checkpoint.
	unsynced  atomic.Int64
	inherited atomic.Bool
	going     going
	layingOut sync.Mutex    // held to make what the directory lacks
	pinning   chan struct{} // holds one while a pin is stored, or what none may mean removed
	relinked  relinked
	tasks     sync.WaitGroup // what takes longer than a call
	lost      atomic.Bool    // see indexGone
	unbacked  func() uint64
	faults    atomic.Uint64 // see noteFaults
	unread    int           // how often a snapshot could not be read

	recent          *recent // tags, links and blobs
	recentManifests *recent

	limits atomic.Pointer[Limits]
	wanted atomic.Int64 // the largest blob that was refused since the last eviction
	looks  looks
	clock  clockWatch
	memory memory
	usage  counters

	// calls are those under way: Badger must not be touched once it is closed.
	calls *calls

	life     context.Context // ends when Close begins
	endLife  context.CancelFunc
	closing  sync.Once
	closeErr error
	cancel   context.CancelFunc
	kick     chan struct{} // asks for a look at the limits
	// replacing asks for a snapshot that takes the place of all older ones, and is told of
	// its end; outdated says that these hold what was removed.
	replacing chan chan struct{}
	outdated  atomic.Bool
	recheck   chan struct{} // asks the scrub to look again at what was condemned
	restored  chan struct{} // closed when the index was restored, if it had to be
	done      chan struct{} // closed when the house keeper is done
}

// Open opens the store at o.Path, and makes it if there is none. ctx bounds only
// the opening. Errors are, or wrap, ErrLocked if the directory stays in use.
//
// A damaged index is no error: it is set aside and begun anew. Nor is a file
// system that is too full or may not be written: the store then works with an index that
// is only read, or without, as ErrNoIndex says.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := openStore(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open storage %s: %w", o.Path, err)
	}
	return s, nil
}

func openStore(ctx context.Context, o Options) (_ *Store, err error) {
	s := &Store{
		log: o.Logger, now: o.Now, kick: make(chan struct{}, 1), replacing: make(chan chan struct{}), recheck: make(chan struct{}, 1),
		restored: make(chan struct{}), done: make(chan struct{}), calls: newCalls(), pinning: make(chan struct{}, 1),
		recent: newRecent(recentRecords), recentManifests: newRecent(recentManifests),
	}
	s.setDefaults(&o)
	s.life, s.endLife = context.WithCancel(context.Background())
	s.limits.Store(&o.Limits)
	if s.path, err = filepath.Abs(o.Path); err != nil {
		return nil, err
	}
	s.quiet, s.inspect, s.rebuild = o.Quiet || o.Inspect, o.Inspect, o.rebuild
	if o.Existing {
		if _, err := os.Lstat(filepath.Join(s.path, versionFile)); err != nil {
			return nil, err
		}
	}
	if s.root, err = openRoot(s.path, o.over); err != nil {
		return nil, err
	}
	if s.space = (&space{volume: o.volume}); o.volume == nil {
		s.space.volume = s.root.volume
	}
	if s.space.inodes = o.inodes; o.inodes == nil {
		s.space.inodes = s.root.inodes
	}
	defer func() {
		if err != nil {
			s.endLife()
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.lock, err = lockRoot(ctx, s.root, o.LockWait); err != nil {
		return nil, err
	}
	s.state = &stateFile{}
	if err := s.makeLayout(); err != nil {
		s.log.Warn("directory is not complete", "error", err)
	}
	s.beginRun(s.root.bootID())
	if !s.quiet {
		if err := s.sweepParts(s.now().Add(-maxIdle)); err != nil {
			s.log.Warn("sweep suspended parts", "error", err)
		}
		if err := s.sweepLeftovers(); err != nil {
			s.log.Warn("sweep what a crash left", "error", err)
		}
	}
	if err := s.openIndex(ctx); errors.Is(err, ErrLocked) && !ownLock {
		return nil, err
	} else if err != nil {
		s.setIndexError(err)
		if rerr := s.openReadable(); rerr == nil {
			s.log.Error("index is open for reading only: what it knows is served, and nothing is recorded", "error", err)
		} else {
			s.log.Error("index is not open: only what an upstream confirms is served", "error", err, "reading", rerr)
		}
	}
	s.index = startWriter(&s.db, s.root, s.log, s.space, hooks{
		gone: s.indexGone, counted: s.usage.add, linked: s.relinked.note, changed: s.changed, guard: s.guard,
	})
	keep, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	restore := s.state.restore && s.db.Load() != nil && !s.inspect
	go s.keepHouse(keep)
	if !restore {
		return s, nil
	}
	select {
	case <-s.restored:
	case <-time.After(restoreWait):
		// The rest is restored while the store works.
	case <-ctx.Done():
	}
	return s, nil
}

// Close ends the store: it waits for calls that are under way, writes down what
// is to be kept, and lets go of the directory. Parts that were not ended can be gone
// on with. It may be called more than once, and returns the same error each time. What
// does not come to its end within 10 s is left behind.
//
// On a disk too full to close the index safely, one goroutine stays behind to do
// that once there is room, and the next store waits for it without index. So it
// is, with an error, if closing the index takes longer than 10 s. An index whose
// directory is gone is left open, and Close returns ErrGone: what Badger needs to
// run stays until the process ends. The same goes for one that takes no writes,
// with ErrStalled.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.endLife()
		s.cancel()
		err := s.awaitEnd()
		s.recent.clear()
		s.recentManifests.clear()
		switch db := s.db.Load(); {
		case err != nil || !s.index.close(s.patience):
			s.lost.Store(true)
			err = fmt.Errorf("close index: %w", errors.Join(err, ErrStalled))
		case db != nil:
			s.noteFaults()
			s.recordDamage()
			ctx, cancel := context.WithTimeout(context.Background(), snapshotLast)
			s.survives("save snapshot", func() { s.saveSnapshot(ctx, false) })
			cancel()
			err = s.closeIndex(db)
			s.noteFaults()
			s.recordDamage()
		}
		if !s.lost.Load() {
			err = errors.Join(err, s.closeReadable())
		}
		if err := errors.Join(err, s.closeFiles()); err != nil {
			s.closeErr = fmt.Errorf("close storage %s: %w", s.path, err)
		}
	})
	return s.closeErr
}

// awaitEnd waits for calls, the house keeper and tasks. Those who wait for the index
// give up after some time, and it does after some more.
func (s *Store) awaitEnd() error {
	none, ended := s.calls.close(), make(chan struct{})
	go func() {
		defer close(ended)
		<-none
		if err := s.parts.abandon(); err != nil {
			s.log.Warn("parts that run are lost", "error", err)
		}
		<-s.done
		s.tasks.Wait()
	}()
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
		close(s.index.abandoned)
	}
	late.Reset(s.patience)
	select {
	case <-ended:
		return nil
	case <-late.C:
		return fmt.Errorf("some calls go on after %v", 2*s.patience)
	}
}

// closeFiles lets go of the directory, the lock last.
func (s *Store) closeFiles() error {
	err := errors.Join(s.state.close(), s.root.Close())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// changed makes hits look up again what has changed.
func (s *Store) changed(key []byte) {
	if key[0] == tableManifest {
		s.recentManifests.changed(key)
		return
	}
	s.recent.changed(key)
}

// enter begins a call, unless its context has ended.
func (s *Store) enter(ctx context.Context) error {
	if !s.calls.enter() {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		s.calls.leave()
		return err
	}
	return nil
}

func (s *Store) leave() { s.calls.leave() }

// get returns a copy of a record, or fs.ErrNotExist.
func (s *Store) get(key []byte) ([]byte, error) {
	txn, err := s.begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	raw, err := get(txn, key)
	if err != nil {
		s.noteDamage(err)
	}
	return raw, err
}

// getScoped returns a copy of what is known of content within a scope.
func (s *Store) getScoped(table byte, scope oci.Scope, i id) ([]byte, error) {
	key, err := scopedKey(table, scope, i)
	if err != nil {
		return nil, err
	}
	return s.get(key)
}
