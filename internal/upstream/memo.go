package upstream

import (
	"context"
	"sync"
	"time"
)

// memo keeps values for as long as they are good, and asks for each one once at
// a time. An ask belongs to nobody: it goes on when the caller that began it
// leaves, because others may wait for it too.
type memo[T any] struct {
	now   func() time.Time
	limit time.Duration // of one ask

	mu      sync.Mutex
	entries map[string]*memoEntry[T]
}

// memoEntry is one value. Its fields may be read once done is closed.
type memoEntry[T any] struct {
	done  chan struct{}
	value T
	err   error
	end   time.Time
}

// maxMemo bounds the entries: a client can name as many repositories as it likes.
const maxMemo = 1024

func newMemo[T any](limit time.Duration, now func() time.Time) *memo[T] {
	return &memo[T]{now: now, limit: limit, entries: map[string]*memoEntry[T]{}}
}

// get returns the value of a key, asking for it if there is none. Failures are
// shared by those who wait, and not kept.
func (m *memo[T]) get(
	ctx context.Context, key string, ask func(context.Context) (T, time.Duration, error),
) (*memoEntry[T], error) {
	m.mu.Lock()
	entry := m.entries[key]
	if entry == nil || entry.finished() && !m.now().Before(entry.end) {
		m.makeRoom()
		entry = &memoEntry[T]{done: make(chan struct{})}
		m.entries[key] = entry
		go m.ask(context.WithoutCancel(ctx), key, entry, ask)
	}
	m.mu.Unlock()
	select {
	case <-entry.done:
		return entry, entry.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (m *memo[T]) ask(
	ctx context.Context, key string, entry *memoEntry[T], ask func(context.Context) (T, time.Duration, error),
) {
	ctx, cancel := context.WithTimeout(ctx, m.limit)
	defer cancel()
	value, good, err := ask(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	entry.value, entry.err, entry.end = value, err, m.now().Add(good)
	if err != nil && m.entries[key] == entry {
		delete(m.entries, key)
	}
	close(entry.done)
}

// forget drops a value that turned out to be bad, unless it was replaced.
func (m *memo[T]) forget(key string, entry *memoEntry[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[key] == entry {
		delete(m.entries, key)
	}
}

// makeRoom drops what is past its end, then anything finished; m.mu is held.
func (m *memo[T]) makeRoom() {
	if len(m.entries) < maxMemo {
		return
	}
	now := m.now()
	for key, entry := range m.entries {
		if entry.finished() && !now.Before(entry.end) {
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

func (e *memoEntry[T]) finished() bool {
	select {
	case <-e.done:
		return true
	default:
		return false
	}
}
