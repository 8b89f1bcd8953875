// Package memo keeps what was asked for, so that those who need it at a time ask once.
package memo

import (
	"context"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

// Memo keeps values for as long as they are good, and asks for each one once at
// a time. An ask belongs to nobody: it goes on when the caller that began it
// leaves, because others may wait for it too.
type Memo[T any] struct {
	now   func() time.Time
	limit time.Duration // of one ask

	mu      sync.Mutex
	entries map[string]*Entry[T]
}

// Entry is one value. Its fields may be read once done is closed.
type Entry[T any] struct {
	done  chan struct{}
	Value T
	err   error
	// got is since when it is known, end when it is asked for again, last until when
	// the old value serves if that goes wrong.
	got, end, last time.Time
}

// memoRetry is how long a value serves on after it could not be renewed.
const memoRetry = 5 * time.Second

// maxMemo bounds the entries: a client can name as many repositories as it likes.
const maxMemo = 1024

// New returns one whose asks may each take as long as limit.
func New[T any](limit time.Duration, now func() time.Time) *Memo[T] {
	return &Memo[T]{now: now, limit: limit, entries: map[string]*Entry[T]{}}
}

// Get returns the value of a key, asking for it if there is none or it is old.
// Values are good for as long as ask says, and for a quarter of that more if
// they cannot be renewed. Failures are shared by those who wait, and not kept.
// old says that the value was there before the call.
func (m *Memo[T]) Get(
	ctx context.Context, key string, ask func(context.Context) (T, time.Duration, error),
) (entry *Entry[T], old bool, err error) {
	m.mu.Lock()
	entry = m.entries[key]
	if entry == nil || entry.finished() && !entry.before(entry.end, m.now()) {
		last := entry
		m.makeRoom()
		entry = &Entry[T]{done: make(chan struct{})}
		m.entries[key] = entry
		go m.ask(context.WithoutCancel(ctx), key, entry, last, ask)
	}
	old = entry.finished()
	m.mu.Unlock()
	select {
	case <-entry.done:
		panics.Raise(entry.err)
		return entry, old, entry.err
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
}

func (m *Memo[T]) ask(
	ctx context.Context, key string, entry, old *Entry[T], ask func(context.Context) (T, time.Duration, error),
) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	value, good, err := survive(func() (T, time.Duration, error) { return ask(ctx) })
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	switch {
	case err == nil:
		entry.Value, entry.got, entry.end, entry.last = value, now, now.Add(good), now.Add(good*5/4)
	case old != nil && old.before(old.last, now):
		entry.Value, entry.got, entry.last = old.Value, old.got, old.last
		if entry.end = now.Add(memoRetry); entry.end.After(old.last) {
			entry.end = old.last
		}
	default:
		entry.err = err
		if m.entries[key] == entry {
			delete(m.entries, key)
		}
	}
	close(entry.done)
}

func survive[T any](ask func() (T, time.Duration, error)) (value T, good time.Duration, err error) {
	defer panics.Catch(&err)
	return ask()
}

// Forget drops a value that turned out to be bad, unless it was replaced.
func (m *Memo[T]) Forget(key string, entry *Entry[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[key] == entry {
		delete(m.entries, key)
	}
}

// makeRoom drops what is past its end, then anything finished; m.mu is held.
func (m *Memo[T]) makeRoom() {
	if len(m.entries) < maxMemo {
		return
	}
	now := m.now()
	for key, entry := range m.entries {
		if entry.finished() && !entry.before(entry.end, now) {
			delete(m.entries, key)
		}
	}
	for key, entry := range m.entries {
		if len(m.entries) < maxMemo {
			return
		}
		if entry.finished() {
			delete(m.entries, key)
		}
	}
}

// before reports whether a value is good up to an end that is still to come. The clock
// may have been set back: then nothing is known.
func (e *Entry[T]) before(end, now time.Time) bool { return !now.Before(e.got) && now.Before(end) }

func (e *Entry[T]) finished() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}
