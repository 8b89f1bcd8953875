package index

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/storage/internal/life"
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
	// WritePatience is how long a write waits for those before it. Badger lets
	// nobody write while it can neither write a table nor hold another memtable.
	WritePatience = 2 * time.Second
)

// ErrStalled means that the index takes no writes at present, mostly because the
// disk is full. What was to be recorded may be recorded later.
var ErrStalled = errors.New("index takes no writes at present")

// writer is the one goroutine that writes the index. It makes one transaction
// of all writes that came in while it made the last one, so that writers who
// come alone do not wait and many at once share the cost.
type writer struct {
	index *Index
	logs  logs

	// changes counts the transactions that changed what a snapshot holds.
	changes atomic.Int64

	queue  chan write
	ending chan struct{} // closed when nobody asks for more
	end    sync.Once
	done   chan struct{}
	born   time.Time
	began  atomic.Int64 // when the running transaction did, in nanoseconds since then; 0 = none runs
	// abandoned is closed when nobody waits any more for a writer that stalls.
	abandoned chan struct{}
}

// write is one atomic change. apply may run more than once.
type write struct {
	apply func(*Batch) error
	bytes int
	done  chan<- error // nil = nobody waits
}

func newWriter(x *Index) *writer {
	return &writer{
		index: x, born: time.Now(), logs: logs{root: x.Root},
		queue: make(chan write, maxGroupWrites), ending: make(chan struct{}), done: make(chan struct{}), abandoned: make(chan struct{}),
	}
}

// Update makes a change of about the given size, and returns when it is made,
// however long that takes: until Close gives up. Requests use Offer.
func (w *writer) Update(bytes int, apply func(*Batch) error) error {
	return w.ask(context.Background(), bytes, apply, nil)
}

// Offer is Update for those whom somebody waits for: it is ErrStalled if the change
// is not made soon, or ctx's error if that ends first. It may be made later then, so
// apply leaves alone what the caller goes on to use.
func (w *writer) Offer(ctx context.Context, bytes int, apply func(*Batch) error) error {
	if w.Stalled() {
		return ErrStalled
	}
	late := time.NewTimer(WritePatience)
	defer late.Stop()
	return w.ask(ctx, bytes, apply, late.C)
}

// Stalled reports whether the running transaction has taken long.
func (w *writer) Stalled() bool {
	began := w.began.Load()
	return began != 0 && time.Since(w.born)-time.Duration(began) > WritePatience
}

func (w *writer) ask(ctx context.Context, bytes int, apply func(*Batch) error, late <-chan time.Time) error {
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
		return life.ErrClosed
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
		return life.ErrClosed
	}
}

// Post asks for a change and does not wait. It may be left out: only for what
// the next one who looks would ask for again.
func (w *writer) Post(apply func(*Batch) error) {
	select {
	case w.queue <- write{apply: apply}:
	default:
	}
}

// Stop makes all changes that were asked for, and ends the goroutine. Who asks for
// more gets life.ErrClosed. It reports false if that takes longer than patience: the
// goroutine is left behind then.
func (w *writer) Stop(patience time.Duration) bool {
	w.end.Do(func() { close(w.ending) })
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-w.done:
		return true
	case <-late.C:
		return false
	}
}

// Abandon makes those who wait for the writer give up.
func (w *writer) Abandon() { close(w.abandoned) }

// Queued returns how many changes wait.
func (w *writer) Queued() int { return len(w.queue) }

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
			_ = w.index.Life.Guard("sync index", w.sync)
		}
	}
}

func (w *writer) sync() error {
	db := w.index.db.Load()
	if db == nil || w.index.Gone() != nil {
		return nil //nolint:nilerr // who writes next hears of it
	}
	err := db.Sync()
	if err != nil {
		w.index.Log.Error("sync index", "error", err)
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
	w.index.Space.Spend(bytes)
	db, err := w.index.db.Load(), w.index.Space.CheckReserve()
	if err == nil {
		err = w.index.Gone()
	}
	switch {
	case db == nil:
		err = ErrNoIndex
	case err == nil:
		// Who asked for it hears of a panic.
		err = w.index.Life.Guard("write index", func() error { return w.transact(db, group) })
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
			w.index.Log.Debug("index not updated", "error", err)
		}
	}
}

func (w *writer) transact(db *badger.DB, group []write) error {
	w.began.Store(int64(max(time.Since(w.born), 1)))
	defer w.began.Store(0)
	b := &Batch{Txn: &Txn{db.NewTransaction(true)}, linked: w.index.Linked}
	defer b.Discard()
	for _, one := range group {
		if err := one.apply(b); err != nil {
			return err
		}
	}
	if b.size == 0 {
		return nil
	}
	if err := w.logs.secure(b.size + commitBytes); err != nil {
		w.index.Space.Forget()
		return err
	}
	// Whatever comes of it: one that fails may still have been made.
	defer func() {
		for _, key := range b.keys {
			w.index.reader.changed(key)
		}
	}()
	if err := b.txn.Commit(); err != nil {
		return err
	}
	if b.changed {
		w.changes.Add(1)
	}
	w.index.Counted(b.Tally)
	return nil
}
