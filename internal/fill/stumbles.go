package fill

import (
	"math/rand/v2"
	"time"
)

const (
	// An attempt that brought goodStep or took goodTime is progress: the next one
	// costs no wait.
	goodStep = 1 << 20
	goodTime = time.Second
	// smallStep is what an attempt has to bring, at least, to go on like that for
	// ever, though ever more slowly.
	smallStep = 64 << 10
	// maxAttempts in a row end a download if all but the first bring no byte, and
	// maxSmall if they bring next to none.
	maxAttempts = 5
	maxSmall    = 30
	// stumblePause is the pause after the second attempt in a row that was no
	// progress, doubled each time; up to maxStumble where something came, and the
	// less of that the more it was.
	stumblePause = 400 * time.Millisecond
	maxStumble   = time.Second
	// maxPause is how long an upstream may ask to be left alone, or be left alone
	// by its breaker, until a fill ends.
	maxPause = 30 * time.Second
)

// stumbles are the attempts of a download in a row that did not get far. The zero
// value is none.
type stumbles struct{ empty, small, row int }

// note counts an attempt that has ended before its end, and says how long to wait
// before the next one; ok is false if there is to be none.
func (s *stumbles) note(bytes int64, took time.Duration) (pause time.Duration, ok bool) {
	switch {
	case bytes >= goodStep || bytes > 0 && took >= goodTime:
		*s = stumbles{row: 1, empty: 1}
		return 0, true
	case bytes >= smallStep:
		s.empty, s.small = 1, 0
	case bytes > 0:
		s.empty = 1
		s.small++
	default:
		s.empty++
		s.small++
	}
	s.row++
	if s.empty > maxAttempts || s.small > maxSmall {
		return 0, false
	}
	if s.row == 1 {
		return 0, true
	}
	pause = stumblePause << min(s.row-2, maxAttempts)
	if bytes > 0 {
		pause = time.Duration(float64(min(pause, maxStumble)) * (1 - float64(bytes)/goodStep))
	}
	return pause/2 + rand.N(pause/2+1), true
}
