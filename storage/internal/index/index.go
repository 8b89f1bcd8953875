// Package index is what the store knows of its content, in Badger: blobs, manifests,
// tags, links, referrers, origins and pins. It is the only package that touches Badger,
// and keeps what that does to itself: it writes through mappings of sparse files, goes
// on for ever where it cannot write, and panics over some damage.
//
// One goroutine writes, and what it is asked for goes into one transaction. Nothing is
// written below a reserve of free space, without the space in the log of Badger, or
// once the directory was removed. Whoever reads gets copies, or a [Txn].
//
// An index that does not open, or that two starts in a row died of, is set aside and
// begun anew. [Snapshots] give back what it held.
package index

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/mapfault"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// ErrNoIndex means that the index cannot be opened at present, so that tags,
// manifests and links cannot be recorded. Nor are they known, unless it was closed well
// and could be opened for reading only. Blobs can be opened and stored all the same. It
// goes on being tried in the background.
var ErrNoIndex = errors.New("index is not open")

// ErrGone means that the directory of the store, or that of its index, was
// removed while the store was open. It is not made again: nothing is recorded,
// and without the first nothing stored, until the store is opened again.
var ErrGone = errors.New("directory was removed while the store was open")

// Options say where an index lies, and what it tells and asks the store around it.
type Options struct {
	Path  string // of the directory of the store
	Root  volume.Files
	Space *volume.Space
	Life  *life.Life
	Log   *slog.Logger
	Now   func() time.Time
	// State is what was known before the index is opened, Note changes it.
	State func() *volume.State
	Note  func(change func(*volume.State))
	// Patience is how long Close waits for Badger.
	Patience time.Duration
	// Unbacked counts the pages that a full disk had no room for; nil = mapfault.Count.
	Unbacked func() uint64
	// Counted gets the change of the blobs that each transaction made.
	Counted func(volume.Tally)
	// Linked hears of each link before it is made.
	Linked func(volume.ID)
	// Damaged is called once damage is found.
	Damaged func()
}

// Index is the index of one store. Its methods are safe for concurrent use, except
// those that open and close it.
type Index struct {
	Options
	*health
	*reader
	*writer

	// Rebuild sets the index aside when it is opened next.
	Rebuild bool

	opened   *Txn
	rebuilds atomic.Int64
	onDisk   atomic.Int64 // see Measure
}

// New returns an index that is not open, and writes nothing before Start.
func New(o Options) *Index {
	if o.Unbacked == nil {
		o.Unbacked = mapfault.Count
	}
	x := &Index{Options: o, health: &health{options: o}}
	x.reader = newReader(o.Life, x.health)
	x.writer = newWriter(x)
	return x
}

// Start begins to write what is asked for.
func (x *Index) Start() { go x.run() }

// Opened is the index as it was opened. The caller of Open owns it.
func (x *Index) Opened() *Txn { return x.opened }

// Writable reports whether the index is open and may be written.
func (x *Index) Writable() bool { return x.IsOpen() && !x.lost.Load() }

// Gone returns ErrGone once the directory of the open index was removed.
// Badger goes on with files that have no name any more until it needs the next
// one, which it then tries to make for ever, or panics for want of. So nothing
// more may be written.
func (x *Index) Gone() error {
	x.NoteFaults()
	if x.lost.Load() {
		return ErrGone
	}
	if _, err := x.Root.Lstat(volume.MetaDir); !errors.Is(err, fs.ErrNotExist) || !x.IsOpen() {
		return nil
	}
	if !x.lost.Swap(true) {
		x.SetTrouble(ErrGone)
		x.Log.Error("index is not written any more", "error", ErrGone)
	}
	return ErrGone
}

// Measure looks at the files of the index, for OnDisk.
func (x *Index) Measure() {
	if bytes, err := volume.Allocated(context.Background(), x.Root, volume.MetaDir); err == nil {
		x.onDisk.Store(bytes)
	}
}

// OnDisk returns the bytes that the index took on the disk when it was last measured.
func (x *Index) OnDisk() int64 { return x.onDisk.Load() }

// Rebuilds counts how often the index was begun anew.
func (x *Index) Rebuilds() int64 { return x.rebuilds.Load() }
