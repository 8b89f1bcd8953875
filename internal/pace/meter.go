package pace

import "time"

// meterSpan is the least time that a speed is measured over, once it has gone by.
const meterSpan = time.Second

// Meter measures the speed of what comes in, over the last one to two meterSpans: what
// came before says little of what comes next. It begins with the first bytes.
type Meter struct {
	began, middle time.Time // of the measurement, and of its later half
	bytes, later  int64     // since then
}

// Add counts n bytes that have just come in.
func (m *Meter) Add(n int64, now time.Time) {
	switch {
	case m.began.IsZero():
		m.began, m.middle = now, now
	case now.Sub(m.middle) >= meterSpan:
		m.began, m.bytes = m.middle, m.later
		m.middle, m.later = now, 0
	}
	m.bytes += n
	m.later += n
}

// Wait returns how long n more bytes are expected to take, and since when that is
// measured; ok is false before the first bytes.
func (m *Meter) Wait(n int64, now time.Time) (expected, measured time.Duration, ok bool) {
	measured = now.Sub(m.began)
	if m.began.IsZero() || m.bytes == 0 {
		return 0, 0, false
	}
	return time.Duration(float64(measured) * float64(n) / float64(m.bytes)), measured, true
}
