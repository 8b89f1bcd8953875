package pace

import (
	"testing"
	"time"
)

// A speed is that of late, not of all the time.
func TestMeter(t *testing.T) {
	var m Meter
	now := time.Unix(1, 0)
	if _, _, ok := m.Wait(1, now); ok {
		t.Error("a speed before the first bytes")
	}
	for range 50 { // 10 MiB in a burst
		m.Add(200<<10, now)
	}
	for range 100 {
		now = now.Add(100 * time.Millisecond)
		m.Add(50<<10, now)
	}
	expected, measured, ok := m.Wait(1<<20, now)
	if !ok || expected < 1800*time.Millisecond || expected > 2200*time.Millisecond || measured < meterSpan || measured > 2*meterSpan+time.Second {
		t.Errorf("%s, measured for %s", expected, measured)
	}
	// Nor is it if nothing comes any more.
	if later, _, _ := m.Wait(1<<20, now.Add(10*time.Second)); later < 5*expected {
		t.Errorf("%s after a silence", later)
	}
}
