package storage

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// A group of writes is one transaction, which Badger limits to 2.4 MiB. A
	// write is at most 1 MiB: a manifest of 512 KiB and 4,096 links.
	maxGroupWrites = 256
	maxGroupBytes  = 1 << 20
	// syncEvery bounds what a power failure can lose.
	syncEvery = time.Second
	// entryBytes is more than what an entry adds to the log of Badger beside its
	// key and value, commitBytes more than what a transaction does.
	entryBytes  = 64
	commitBytes = 256
	// writePatience is how long a write waits for those before it. Badger lets
	// nobody write while it can neither write a table nor hold another memtable.
	writePatience = 2 * time.Second
)

// ErrStalled means that the index takes no writes at present, mostly because the
// disk is full. What was to be recorded may be recorded later.
var ErrStalled = errors.New("index takes no writes at present")

// writer is the one goroutine that writes the index. It makes one transaction
// of all writes that came in while it made the last one, so that writers who
// come alone do not wait and many at once share the cost.
type writer struct {
	db    *atomic.Pointer[badger.DB] // nil until the index is open
	log   *slog.Logger
	space *space
	logs  logs
	hooks

	// changes counts the transactions that changed what a snapshot holds.
	changes atomic.Int64

	queue  chan write
	ending chan struct{} // closed when nobody asks for more
	done   chan struct{}
	born   time.Time
	began  atomic.Int64 // when the running transaction did, in nanoseconds since then; 0 = none runs
	// abandoned is closed when nobody waits any more for a writer that stalls.
	abandoned chan struct{}
}

// hooks are what a writer tells and asks the store.
type hooks struct {
	// gone returns an error if the index must not be written any more.
	gone func() error
	// counted gets the change of the blobs that each transaction made.
	counted func(tally)
	// linked hears of each link before it is made.
	linked func(id)
	// changed gets each key that a transaction changed.
	changed func(key []byte)
	// guard calls a function and makes an error of a panic.
	guard func(task string, fn func() error) error
}

// write is one atomic change. apply may run more than once.
type write struct {
	apply func(*batch) error
	bytes int
	done  chan<- error // nil = nobody waits
}

func startWriter(db *atomic.Pointer[badger.DB], root files, log *slog.Logger, s *space, h hooks) *writer {
	w := &writer{
		db: db, log: log, space: s, born: time.Now(), logs: logs{root: root}, hooks: h,
		queue: make(chan write, maxGroupWrites), ending: make(chan struct{}), done: make(chan struct{}), abandoned: make(chan struct{}),
	}
	go w.run()
	return w
}

// update makes a change of about the given size, and returns when it is made,
// however long that takes: until Close gives up. Requests use offer.
func (w *writer) update(bytes int, apply func(*batch) error) error {
	return w.ask(context.Background(), bytes, apply, nil)
}

// offer is update for those whom somebody waits for: it is ErrStalled if the change
// is not made soon, or ctx's error if that ends first. It may be made later then, so
// apply leaves alone what the caller goes on to use.
func (w *writer) offer(ctx context.Context, bytes int, apply func(*batch) error) error {
	if w.stalled() {
		return ErrStalled
	}
	late := time.NewTimer(writePatience)
	defer late.Stop()
	return w.ask(ctx, bytes, apply, late.C)
}

// stalled reports whether the running transaction has taken long.
func (w *writer) stalled() bool {
	began := w.began.Load()
	return began != 0 && time.Since(w.born)-time.Duration(began) > writePatience
}

func (w *writer) ask(ctx context.Context, bytes int, apply func(*batch) error, late <-chan time.Time) error {
	done := make(chan error, 1)
	select {
	case w.queue <- write{apply: apply, bytes: bytes, done: done}:
	case <-late:
		return ErrStalled
	case <-ctx.Done():
		return ctx.Err()
	case <-w.abandoned:
		return ErrStalled
	case <-w.done:
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-late:
		return ErrStalled
	case <-ctx.Done():
		return ctx.Err()
	case <-w.abandoned:
		return ErrStalled
	case <-w.done:
	}
	select {
	case err := <-done: // the last thing it did
		return err
	default:
		return ErrClosed
	}
}

// post asks for a change and does not wait. It may be left out: only for what
// the next one who looks would ask for again.
func (w *writer) post(apply func(*batch) error) {
	select {
	case w.queue <- write{apply: apply}:
	default:
	}
}

// close makes all changes that were asked for, and ends the goroutine. Who asks for
// more gets ErrClosed. It reports false if that takes longer than patience: the
// goroutine is left behind then.
func (w *writer) close(patience time.Duration) bool {
	close(w.ending)
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-w.done:
		return true
	case <-late.C:
		return false
	}
}

func (w *writer) run() {
	defer close(w.done)
	defer w.logs.close()
	var due <-chan time.Time
	for {
		select {
		case first := <-w.queue:
			w.commit(w.group(first))
			if due == nil {
				due = time.After(syncEvery)
			}
		case <-w.ending:
			for {
				select {
				case first := <-w.queue:
					w.commit(w.group(first))
					continue
				default:
				}
				return
			}
		case <-due:
			due = nil
			_ = w.guard("sync index", w.sync)
		}
	}
}

func (w *writer) sync() error {
	db := w.db.Load()
	if db == nil || w.gone() != nil {
		return nil //nolint:nilerr // who writes next hears of it
	}
	err := db.Sync()
	if err != nil {
		w.log.Error("sync index", "error", err)
	}
	return err
}

// group returns first and what else waits.
func (w *writer) group(first write) []write {
	group, bytes := []write{first}, first.bytes
	for len(group) < maxGroupWrites && bytes < maxGroupBytes {
		select {
		case next := <-w.queue:
			group, bytes = append(group, next), bytes+next.bytes
		default:
			return group
		}
	}
	return group
}

func (w *writer) commit(group []write) {
	var bytes int
	for _, one := range group {
		bytes += one.bytes
	}
	w.space.spend(bytes)
	db, err := w.db.Load(), w.space.room()
	if err == nil {
		err = w.gone()
	}
	switch {
	case db == nil:
		err = ErrNoIndex
	case err == nil:
		// Who asked for it hears of a panic.
		err = w.guard("write index", func() error { return w.transact(db, group) })
	}
	if err != nil && len(group) > 1 {
		// One that cannot be made must not take the others with it.
		for _, one := range group {
			w.commit([]write{one})
		}
		return
	}
	for _, one := range group {
		if one.done != nil {
			one.done <- err
		} else if err != nil {
			w.log.Debug("index not updated", "error", err)
		}
	}
}

func (w *writer) transact(db *badger.DB, group []write) error {
	w.began.Store(int64(max(time.Since(w.born), 1)))
	defer w.began.Store(0)
	b := &batch{txn: db.NewTransaction(true), linked: w.linked}
	defer b.txn.Discard()
	for _, one := range group {
		if err := one.apply(b); err != nil {
			return err
		}
	}
	if b.size == 0 {
		return nil
	}
	if err := w.logs.secure(b.size + commitBytes); err != nil {
		w.space.forget()
		return err
	}
	// Whatever comes of it: one that fails may still have been made.
	defer func() {
		for _, key := range b.keys {
			w.changed(key)
		}
	}()
	if err := b.txn.Commit(); err != nil {
		return err
	}
	if b.changed {
		w.changes.Add(1)
	}
	w.counted(b.tally)
	return nil
}

// batch is a transaction in the making. What it reads includes what it wrote,
// and nobody else writes.
type batch struct {
	txn     *badger.Txn
	tally   tally
	changed bool // something that a snapshot holds
	keys    [][]byte
	size    int64 // no less than the bytes that it adds to the log of Badger
	linked  func(id)
}

// put writes an entry.
func (b *batch) put(key, value []byte) error {
	b.size += int64(len(key)+len(value)) + entryBytes
	b.keys = append(b.keys, key)
	return b.txn.Set(key, value)
}

// drop removes an entry.
func (b *batch) drop(key []byte) error {
	b.size += int64(len(key)) + entryBytes
	b.keys = append(b.keys, key)
	return b.txn.Delete(key)
}

// delete removes a record.
func (b *batch) delete(key []byte) error {
	b.changed = b.changed || strings.IndexByte(snapshotTables, key[0]) >= 0
	return b.drop(key)
}

// set writes a record, unless it stands there already.
func (b *batch) set(key, record []byte) error {
	old, _ := get(b.txn, key)
	return b.replace(key, old, record)
}

// replace is set where it is known what stands there; nil = nothing.
func (b *batch) replace(key, old, record []byte) error {
	if old != nil && string(old) == string(record) {
		return nil
	}
	b.changed = b.changed || strings.IndexByte(snapshotTables, key[0]) >= 0
	return b.put(key, record)
}

// link links content to a scope. What was proven is not forgotten, nor does a
// claim change it; a known size is not forgotten either.
func (b *batch) link(scope oci.Scope, l linkTo) error {
	key, err := scopedKey(tableLink, scope, l.id)
	if err != nil {
		return err
	}
	b.linked(l.id)
	proves := l.Proven
	raw, _ := get(b.txn, key)
	if old, ok := decodeLink(raw); ok {
		if l.Size < 0 || old.Proven && !l.Proven && old.Size >= 0 {
			l.Size = old.Size
		}
		l.Proven = l.Proven || old.Proven
		l.made = max(l.made, old.made)
		if l.proved.Before(old.proved) {
			l.proved = old.proved
		}
	}
	if err := b.replace(key, raw, l.encode()); err != nil || !proves {
		return err
	}
	return b.shown(scope.Upstream, l)
}

// putBlob records a blob. When it was first recorded, and for whom, is kept.
func (b *batch) putBlob(i id, r blobRecord) error {
	old, known := b.blob(i)
	if known {
		if old.size == r.size {
			return nil
		}
		if old.origin != "" {
			r.origin = old.origin
		}
		b.tally.add(old, -1)
	}
	b.tally.add(r, 1)
	return b.put(i.key(tableBlob), r.encode())
}

// dropBlob removes the records of a blob.
func (b *batch) dropBlob(i id) error {
	if old, known := b.blob(i); known {
		b.tally.add(old, -1)
	}
	return errors.Join(b.drop(i.key(tableBlob)), b.drop(i.key(tableUse)))
}

// blob returns the record of a blob; zero if it is not known.
func (b *batch) blob(i id) (blobRecord, bool) {
	raw, err := get(b.txn, i.key(tableBlob))
	if err != nil {
		return blobRecord{}, false
	}
	if r, ok := decodeBlob(raw); ok {
		return r, true
	}
	return blobRecord{}, false
}
