package eviction

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Latest remembers to the minute when manifests were last used, for people: of records
// they would learn the hour. It knows uses of this process only, and MaxUses at most, those
// of the last hour before others. The zero value knows none. Safe for concurrent use.
type Latest struct {
	mu      sync.RWMutex
	minutes map[volume.ID]*atomic.Int64
	swept   int64 // in which minute
}

// Note remembers a use.
func (l *Latest) Note(i volume.ID, now time.Time) {
	minute := now.Unix() / 60
	l.mu.RLock()
	known := l.minutes[i]
	l.mu.RUnlock()
	if known == nil {
		l.add(i, minute)
	} else if known.Load() < minute {
		known.Store(minute)
	}
}

func (l *Latest) add(i volume.ID, minute int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.minutes) >= MaxUses && l.swept != minute {
		l.swept = minute
		for i, last := range l.minutes {
			if last.Load() < minute-60 {
				delete(l.minutes, i)
			}
		}
	}
	if len(l.minutes) >= MaxUses {
		return
	}
	if l.minutes == nil {
		l.minutes = make(map[volume.ID]*atomic.Int64)
	}
	last := new(atomic.Int64)
	last.Store(minute)
	l.minutes[i] = last
}

// At returns when a manifest was last used; zero = that is not known here.
func (l *Latest) At(i volume.ID) time.Time {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if last := l.minutes[i]; last != nil {
		return time.Unix(60*last.Load(), 0)
	}
	return time.Time{}
}
