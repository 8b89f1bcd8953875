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

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/integrity"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// SocketFile is the name of a socket that the server of a store may have in its
// directory, to be found there. The store leaves it alone.
const SocketFile = volume.SocketFile

// LockedError is an ErrLocked that knows which process has the lock.
type LockedError = volume.LockedError

var (
	// ErrLocked means that another store, of this process or another, has the
	// directory open.
	ErrLocked = volume.ErrLocked
	// ErrNoSpace means that nothing is written because too little space would be
	// left on the file system. It wraps syscall.ENOSPC.
	ErrNoSpace = volume.ErrNoSpace
	// ErrNoIndex means that the index cannot be opened at present, so that tags,
	// manifests and links are not known and cannot be recorded. Blobs can be opened
	// and stored all the same. It goes on being tried in the background.
	ErrNoIndex = index.ErrNoIndex
	// ErrStalled means that the index takes no writes at present, mostly because the
	// disk is full. What was to be recorded may be recorded later.
	ErrStalled = index.ErrStalled
	// ErrGone means that the directory of the store, or that of its index, was
	// removed while the store was open. It is not made again: nothing is recorded,
	// and without the first nothing stored, until the store is opened again.
	ErrGone = index.ErrGone
)

// ErrClosed is what every method of a closed Store returns.
var ErrClosed = life.ErrClosed

const (
	// snapshotLast bounds how long the snapshot at the end holds up Close. One
	// that takes longer is left to the next night.
	snapshotLast = 3 * time.Second
)

// restoreWait is how long Open waits for what a damaged index held to be
// restored.
const restoreWait = 5 * time.Second

// Store is the content of one directory. Its methods are safe for concurrent
// use, and return ErrClosed after Close.
type Store struct {
	*Records
	*images.Pinning

	path string
	log  *slog.Logger
	now  func() time.Time
	born time.Time // the time of the opening
	// uptime is the time since then, whatever becomes of the clock.
	uptime func() time.Duration

	lock      volume.File
	root      volume.Files
	state     *volume.StateFile
	index     *index.Index
	snapshots *index.Snapshots
	ballast   *volume.Ballast
	scarce    bool  // inodes were, when keepLimits last looked
	counted   int64 // how many of its blobs others have heard of
	retry     time.Duration
	patience  time.Duration
	way       time.Duration
	save      time.Duration
	// What the options of these names say.
	quiet, inspect bool

	space        *volume.Space
	uses         uses
	parts        parts
	manifestUses uses
	opened       opened

	judge      *integrity.Judge
	durability *integrity.Durability
	blobs      index.BlobTable
	layingOut  sync.Mutex // held to make what the directory lacks
	contents   images.Contents
	remover    *images.Remover
	limits     atomic.Pointer[Limits]
	wanted     atomic.Int64 // the largest blob that was refused since the last eviction
	looks      looks
	clock      clockWatch
	forgetting forgetting
	usage      counters

	// life has the calls under way: Badger must not be touched once it is closed.
	life     *life.Life
	closing  sync.Once
	closeErr error
	cancel   context.CancelFunc
	kick     chan struct{} // asks for a look at the limits
	// replacing asks for a snapshot that takes the place of all older ones, and is told of
	// its end.
	replacing chan chan struct{}
	restored  chan struct{} // closed when the index was restored, if it had to be
	done      chan struct{} // closed when the house keeper is done
}

// Open opens the store at o.Path, and makes it if there is none. ctx bounds only
// the opening. Errors are, or wrap, ErrLocked if the directory stays in use.
//
// A damaged index is no error: it is set aside and begun anew. Nor is a file
// system that is too full or may not be written: the store then works without
// index, as ErrNoIndex says.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := openStore(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("open storage %s: %w", o.Path, err)
	}
	return s, nil
}

func openStore(ctx context.Context, o Options) (_ *Store, err error) {
	s := &Store{
		log: o.Logger, now: o.Now, kick: make(chan struct{}, 1), replacing: make(chan chan struct{}),
		restored: make(chan struct{}), done: make(chan struct{}),
	}
	s.setDefaults(&o)
	s.limits.Store(&o.Limits)
	if s.path, err = filepath.Abs(o.Path); err != nil {
		return nil, err
	}
	s.quiet, s.inspect = o.Quiet || o.Inspect, o.Inspect
	if o.Existing {
		if _, err := os.Lstat(filepath.Join(s.path, volume.VersionFile)); err != nil {
			return nil, err
		}
	}
	if s.root, err = volume.Open(s.path, o.over); err != nil {
		return nil, err
	}
	if o.volume == nil {
		o.volume = s.root.Bytes
	}
	if o.inodes == nil {
		o.inodes = s.root.Inodes
	}
	s.space = volume.NewSpace(o.volume, o.inodes)
	s.state = &volume.StateFile{Now: s.now, Log: s.log}
	s.ballast = volume.NewBallast(s.root, s.space)
	s.remover = &images.Remover{}
	s.index = index.New(index.Options{
		Path: s.path, Root: s.root, Space: s.space, Life: s.life, Log: s.log, Now: s.now, Patience: o.patience, Unbacked: o.unbacked,
		State: func() *volume.State { return &s.state.State }, Note: s.state.Note,
		Counted: s.usage.Add, Linked: s.remover.Linked, Damaged: s.keepHouseNow,
	})
	s.index.Rebuild = o.rebuild
	s.snapshots = index.NewSnapshots(s.index)
	s.blobs = index.BlobTable{Index: s.index}
	s.contents = images.Contents{Root: s.root}
	s.Pinning = images.NewPinning(s.life, s.index, s.contents, s.now, func() []oci.Pin { return s.limits.Load().Pins }, s.pinsChanged)
	s.forgetting.Forgetter = &images.Forgetter{
		Index: s.index, Pins: s.Pinning, Contents: s.contents, Log: s.log, Now: s.now, ClockTrusted: s.clockTrusted, Used: s.manifestUses.seen,
	}
	*s.remover = images.Remover{
		Index: s.index, Life: s.life, Log: s.log, Pins: s.Pinning, Contents: s.contents, Blobs: removable{s},
		MakeRoom: s.makeRoomToRemove, Settle: s.settleRemoval,
	}
	s.Records = &Records{
		life: s.life, index: s.index, log: s.log, now: s.now, large: s, uses: &s.manifestUses, full: s.keepHouseNow,
	}
	defer func() {
		if err != nil {
			s.life.End()
			err = errors.Join(err, s.closeFiles())
		}
	}()
	if s.lock, err = volume.Lock(ctx, s.root, o.LockWait); err != nil {
		return nil, err
	}
	s.judge = integrity.New(integrity.Options{
		Root: s.root, Space: s.space, State: s.state, Life: s.life, Log: s.log, Now: s.now,
		Records: s.blobs, Filling: s.parts.has, Retry: s.retry,
	})
	s.durability = &integrity.Durability{State: s.state, Suspects: &s.judge.Suspects, Log: s.log, Now: s.now}
	if err := s.makeLayout(); err != nil {
		s.log.Warn("directory is not complete", "error", err)
	}
	s.beginRun()
	if !s.quiet {
		if err := s.sweepParts(s.now().Add(-maxIdle)); err != nil {
			s.log.Warn("sweep suspended parts", "error", err)
		}
		if err := s.sweepLeftovers(); err != nil {
			s.log.Warn("sweep what a crash left", "error", err)
		}
	}
	if err := s.openIndex(ctx); errors.Is(err, ErrLocked) && !volume.OwnLock {
		return nil, err
	} else if err != nil {
		s.index.SetTrouble(err)
		s.log.Error("index is not open: only what an upstream confirms is served", "error", err)
	}
	s.index.Start()
	keep, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	restore := s.state.Restore && s.index.IsOpen() && !s.inspect
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
		s.life.End()
		s.cancel()
		err := s.awaitEnd()
		s.index.Clear()
		switch {
		case err != nil || !s.index.Stop(s.patience):
			s.index.Leave()
			err = fmt.Errorf("close index: %w", errors.Join(err, ErrStalled))
		case s.index.IsOpen():
			s.index.NoteFaults()
			s.index.RecordDamage()
			ctx, cancel := context.WithTimeout(context.Background(), snapshotLast)
			s.survives("save snapshot", func() { s.snapshots.Save(ctx, false) })
			cancel()
			err = s.closeIndex()
			s.index.NoteFaults()
			s.index.RecordDamage()
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
	none, ended := s.life.Close(), make(chan struct{})
	go func() {
		defer close(ended)
		<-none
		if err := s.parts.abandon(); err != nil {
			s.log.Warn("parts that run are lost", "error", err)
		}
		<-s.done
		s.life.AwaitTasks()
	}()
	late := time.NewTimer(s.patience)
	defer late.Stop()
	select {
	case <-ended:
		return nil
	case <-late.C:
		s.index.Abandon()
	}
	late.Reset(s.patience)
	select {
	case <-ended:
		return nil
	case <-late.C:
		return fmt.Errorf("some calls go on after %v", 2*s.patience)
	}
}

// closeIndex closes the index, and notes if that, and all blobs, are on the disk.
func (s *Store) closeIndex() error {
	closed, err := s.index.Close(func() error { return s.makeRoom(context.Background()) })
	if closed && s.durability.Certain() {
		s.state.Note(func(st *volume.State) { st.Clean, st.Checkpoint = true, s.now() })
	}
	return err
}

// closeFiles lets go of the directory, the lock last.
func (s *Store) closeFiles() error {
	err := errors.Join(s.state.Close(), s.root.Close())
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	return err
}

// enter begins a call.
func (s *Store) enter(ctx context.Context) error { return s.life.Enter(ctx) }

func (s *Store) leave() { s.life.Leave() }

func (s *Store) guard(task string, fn func() error) error { return s.life.Guard(task, fn) }

func (s *Store) survives(task string, fn func()) bool { return s.life.Survives(task, fn) }

func (s *Store) persist(ctx context.Context, task string, fn func()) { s.life.Persist(ctx, task, fn) }

func (s *Store) task(ctx context.Context, fn func(context.Context) error) error {
	return s.life.Task(ctx, fn)
}

// getScoped returns a copy of what is known of content within a scope.
func (s *Store) getScoped(table byte, scope oci.Scope, i volume.ID) ([]byte, error) {
	key, err := index.ScopedKey(table, scope, i)
	if err != nil {
		return nil, err
	}
	return s.index.Get(key)
}
