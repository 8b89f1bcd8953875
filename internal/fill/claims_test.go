package fill

import (
	"context"
	"testing"
	"time"
)

// A place is made by what is only for speed first, then by what no reader waits for,
// and by nobody else.
func TestMakePlace(t *testing.T) {
	t.Parallel()
	place := func(pos int64, extra bool) *segment {
		s := &segment{pos: pos, extra: extra}
		_, s.stop = context.WithCancelCause(t.Context())
		return s
	}
	first, speed, wanted, idle := place(0, false), place(100, true), place(200, false), place(300, false)
	ss := segments{first, idle, speed, wanted}
	waiting := &content{seekers: seekers{50, 210}}
	if !ss.makePlace(5, waiting, 400) || speed.leaving || idle.leaving {
		t.Fatal("somebody leaves though there is room")
	}
	for _, next := range []*segment{speed, idle} {
		if !ss.makePlace(4, waiting, 400) || !next.leaving {
			t.Errorf("the one at %d does not leave", next.pos)
		}
		ss = append(ss, place(150+next.pos, false)) // which took its place
		waiting.seek(160 + next.pos)
	}
	if ss.makePlace(4, waiting, 500) || first.leaving || wanted.leaving {
		t.Error("what a reader waits for leaves")
	}
	waiting.unseek(50)
	if !ss.makePlace(4, waiting, 500) || !first.leaving {
		t.Error("what nobody waits for any more stays")
	}
}

// What is far is a matter of time, not of bytes.
func TestDistant(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	for name, test := range map[string]struct {
		rate    int64 // bytes in a tenth of a second; 0 = none came
		passed  time.Duration
		off     int64
		leaving bool
		far     bool
	}{
		"near":                {1000, time.Second, segmentBuffer, false, false},
		"near, and leaving":   {1000, time.Second, segmentBuffer, true, false},
		"slow":                {50 << 10, time.Second, 2 << 20, false, true},
		"fast":                {50 << 20, time.Second, 200 << 20, false, false},
		"fast, and leaving":   {50 << 20, time.Second, 200 << 20, true, true},
		"nothing yet":         {0, answerTime - 1, 1 << 20, false, false},
		"nothing for long":    {0, answerTime, 1 << 20, false, true},
		"not measured enough": {1000, 200 * time.Millisecond, 1 << 20, false, false},
	} {
		s := segment{began: now, leaving: test.leaving}
		at := now
		for ; test.rate > 0 && at.Before(now.Add(test.passed)); at = at.Add(100 * time.Millisecond) {
			s.speed.Add(test.rate, at)
		}
		again, far := s.distant(test.off, test.off, now.Add(test.passed))
		if far != test.far || !far && again < 0 {
			t.Errorf("%s: far %t, again after %s", name, far, again)
		}
	}
}
