package mirror

import (
	"testing"
	"time"
)

// The less an attempt brings, the longer the pauses, and with next to nothing the end.
func TestStumbles(t *testing.T) {
	for _, test := range []struct {
		name        string
		bytes       int64
		took        time.Duration
		most        int // attempts; 100 = for ever
		least, each time.Duration
	}{
		{"far enough", goodStep, 0, 100, 0, 0},
		{"long enough", 1, goodTime, 100, 0, 0},
		{"some", 300 << 10, 0, 100, 30 * time.Second, time.Second},
		{"nearly enough", goodStep - 1024, 0, 100, 0, 2 * time.Millisecond},
		{"next to nothing", 256, 0, maxSmall, 10 * time.Second, time.Second},
		{"nothing", 0, time.Minute, maxAttempts, 2 * time.Second, 4 * time.Second},
	} {
		var s stumbles
		var total time.Duration
		n := 0
		for ; n < 100; n++ {
			pause, ok := s.note(test.bytes, test.took)
			if !ok {
				break
			}
			if pause > test.each || n == 0 && pause > 0 {
				t.Errorf("%s: pause %d is %s", test.name, n, pause)
			}
			total += pause
		}
		if n != test.most || total < test.least {
			t.Errorf("%s: %d attempts with %s of pauses", test.name, n, total)
		}
	}
	// Progress begins anew.
	var s stumbles
	for range maxSmall {
		s.note(256, 0)
	}
	s.note(goodStep, 0)
	if pause, ok := s.note(goodStep, 0); !ok || pause != 0 {
		t.Errorf("after progress: %s, %t", pause, ok)
	}
}

// A speed is that of late, not of all the time.
func TestMeter(t *testing.T) {
	var m meter
	now := time.Unix(1, 0)
	if _, _, ok := m.wait(1, now); ok {
		t.Error("a speed before the first bytes")
	}
	for range 50 { // 10 MiB in a burst
		m.add(200<<10, now)
	}
	for range 100 {
		now = now.Add(100 * time.Millisecond)
		m.add(50<<10, now)
	}
	expected, measured, ok := m.wait(1<<20, now)
	if !ok || expected < 1800*time.Millisecond || expected > 2200*time.Millisecond || measured < meterSpan || measured > 2*meterSpan+time.Second {
		t.Errorf("%s, measured for %s", expected, measured)
	}
	// Nor is it if nothing comes any more.
	if later, _, _ := m.wait(1<<20, now.Add(10*time.Second)); later < 5*expected {
		t.Errorf("%s after a silence", later)
	}
}
