package fill

import (
	"testing"
	"time"
)

// The less an attempt brings, the longer the pauses, and with next to nothing the end.
func TestStumbles(t *testing.T) {
	t.Parallel()
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
