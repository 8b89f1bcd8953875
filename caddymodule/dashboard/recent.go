package dashboard

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// maxRecent is how many answers are kept.
const maxRecent = 64

// recent keeps what takes a while to find out until it is old, by a key. One at a time
// finds it out, whoever asks, and it is found out also if that one has left. Safe for
// concurrent use.
type recent[T any] struct {
	ctx  context.Context
	age  time.Duration
	find func(ctx context.Context, key string) (T, error)

	group singleflight.Group
	mu    sync.Mutex
	kept  map[string]kept[T]
}

type kept[T any] struct {
	value T
	since time.Time
}

// get returns what is known of a key. What is old is found out anew, which is waited for
// that long; ready is false if it took longer: the value is an old one then, or none.
func (r *recent[T]) get(key string, patience time.Duration) (value T, ready bool, err error) {
	r.mu.Lock()
	k, ok := r.kept[key]
	r.mu.Unlock()
	if ok && time.Since(k.since) < r.age {
		return k.value, true, nil
	}
	found := r.group.DoChan(key, func() (any, error) {
		value, err := r.find(r.ctx, key)
		if err == nil {
			r.keep(key, value)
		}
		return value, err
	})
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case result := <-found:
		if result.Err != nil {
			return value, false, result.Err
		}
		return result.Val.(T), true, nil
	case <-timer.C:
		return k.value, false, nil
	}
}

func (r *recent[T]) keep(key string, value T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[string]kept[T]{}
	}
	for other, k := range r.kept {
		if len(r.kept) >= maxRecent || time.Since(k.since) > 10*r.age {
			delete(r.kept, other)
		}
	}
	r.kept[key] = kept[T]{value, time.Now()}
}

// forget makes everything old: something was changed.
func (r *recent[T]) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, k := range r.kept {
		k.since = time.Time{}
		r.kept[key] = k
	}
}
