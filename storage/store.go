package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
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
	// manifests and links cannot be recorded. Nor are they known, unless it was closed well
	// and could be opened for reading only. Blobs can be opened and stored all the same. It
	// goes on being tried in the background.
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
	*Blobs
	*images.Pinning

	log *slog.Logger
	now func() time.Time
	// life has the calls under way: the index must not be touched once it is closed.
	life     *life.Life
	home     *home
	keeper   *keeper
	removal  *images.Remover
	patience time.Duration

	closing  sync.Once
	closeErr error
	cancel   context.CancelFunc // ends the house keeper
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
	o.setDefaults()
	path, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, err
	}
	if o.Existing {
		if _, err := os.Lstat(filepath.Join(path, volume.VersionFile)); err != nil {
			return nil, err
		}
	}
	root, err := volume.Open(path, o.over)
	if err != nil {
		return nil, err
	}
	s := &Store{log: o.Logger, now: o.Now, life: life.New(o.Logger, o.Panicked, o.rest), patience: o.patience}
	s.compose(path, root, o)
	defer func() {
		if err != nil {
			s.life.End()
			err = errors.Join(err, s.home.close())
		}
	}()
	if s.home.lock, err = volume.Lock(ctx, root, o.LockWait); err != nil {
		return nil, err
	}
	s.parts.files.look()
	k := s.keeper
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	keep, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	restore := s.home.state.Restore && s.index.IsOpen() && !k.inspect
	go k.run(keep)
	if !restore {
		return s, nil
	}
	select {
	case <-k.restored:
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
			s.life.Survives("save snapshot", func() { s.keeper.snapshots.Save(ctx, false) })
			cancel()
			err = s.closeIndex()
			s.index.NoteFaults()
			s.index.RecordDamage()
		}
		if err := errors.Join(err, s.index.CloseReadable(), s.home.close()); err != nil {
			s.closeErr = fmt.Errorf("close storage %s: %w", s.home.path, err)
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
		<-s.keeper.done
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
	closed, err := s.index.Close(func() error { return s.keeper.eviction.MakeIndexRoom(context.Background()) })
	if closed && s.keeper.durability.Certain() {
		s.home.state.Note(func(st *volume.State) { st.Clean, st.Checkpoint = true, s.now() })
	}
	return err
}
