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
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

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

const (
	// recentRecords are about 8 MiB, recentManifests 16 MiB at worst. A hit of a
	// blob needs two records.
	recentRecords   = 32 << 10
	recentManifests = 512
)

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
	*writer

	// Rebuild sets the index aside when it is opened next.
	Rebuild bool
	// Records and Manifests are what was read lately: tags, links and blobs in the first.
	Records, Manifests *Recent

	// db is nil until the index is open, and never again after that.
	db       atomic.Pointer[badger.DB]
	readable atomic.Pointer[badger.DB] // see OpenReadable; nil where db was open at once
	opened   *Txn
	damage   atomic.Pointer[error] // the first error that reading the index met
	lost     atomic.Bool           // see Gone
	faults   atomic.Uint64         // see NoteFaults
	rebuilds atomic.Int64
	trouble  atomic.Pointer[string]
}

// New returns an index that is not open, and writes nothing before Start.
func New(o Options) *Index {
	if o.Unbacked == nil {
		o.Unbacked = mapfault.Count
	}
	x := &Index{Options: o, Records: newRecent(recentRecords), Manifests: newRecent(recentManifests)}
	x.writer = newWriter(x)
	return x
}

// Start begins to write what is asked for.
func (x *Index) Start() { go x.run() }

// IsOpen reports whether the index was opened, even if that was lost since.
func (x *Index) IsOpen() bool { return x.db.Load() != nil }

// Opened is the index as it was opened. The caller of Open owns it.
func (x *Index) Opened() *Txn { return x.opened }

// Begin starts a reading transaction, or returns ErrNoIndex.
func (x *Index) Begin() (*Txn, error) {
	if db := x.db.Load(); db != nil {
		return &Txn{db.NewTransaction(false)}, nil
	}
	if db := x.readable.Load(); db != nil {
		return &Txn{db.NewTransaction(false)}, nil
	}
	return nil, ErrNoIndex
}

// View calls fn with the index as it is at present, or returns ErrNoIndex.
func (x *Index) View(fn func(*Txn) error) error {
	txn, err := x.Begin()
	if err != nil {
		return err
	}
	defer txn.Discard()
	return fn(txn)
}

// Get returns a copy of a record, or fs.ErrNotExist.
func (x *Index) Get(key []byte) (raw []byte, err error) {
	err = x.View(func(txn *Txn) (err error) {
		raw, err = txn.Get(key)
		return err
	})
	x.NoteDamage(err)
	return raw, err
}

// Blob returns the record of a blob. What cannot be read is not known: the file
// decides.
func (x *Index) Blob(i volume.ID) (Blob, bool) {
	var buffer [KeyBytes]byte
	read := func() ([]byte, error) { return x.Get(TableKey(TableBlob, i)) }
	r, err := Recall(x.Records, append(append(buffer[:0], TableBlob), i...), read, DecodeBlob)
	return r, err == nil
}

// changed makes hits look up again what has changed.
func (x *Index) changed(key []byte) {
	if key[0] == TableManifest {
		x.Manifests.changed(key)
		return
	}
	x.Records.changed(key)
}

// Clear makes hits look up everything again.
func (x *Index) Clear() {
	x.Records.clear()
	x.Manifests.clear()
}

// Size returns the bytes of the index in its tables, and of all its files, up to a
// minute old.
func (x *Index) Size() (tables, all int64) {
	db := x.db.Load()
	if db == nil {
		return 0, 0
	}
	tables, logs := db.Size()
	return tables, tables + logs
}

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

// Leave leaves the index as it is: nothing more is written.
func (x *Index) Leave() { x.lost.Store(true) }

// Trouble says why there is no index, or a new one; empty = nothing is wrong.
func (x *Index) Trouble() string {
	if text := x.trouble.Load(); text != nil {
		return *text
	}
	return ""
}

// SetTrouble records why there is no index, or a new one.
func (x *Index) SetTrouble(err error) {
	text := err.Error()
	x.trouble.Store(&text)
}

// Rebuilds counts how often the index was begun anew.
func (x *Index) Rebuilds() int64 { return x.rebuilds.Load() }

// dir is where Badger lies.
func (x *Index) dir() string { return filepath.Join(x.Path, volume.MetaDir) }
