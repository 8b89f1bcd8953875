package history

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// disk is where a history is written down, and totals are what has been counted.
type disk struct {
	mu     sync.Mutex
	totals Point
	file   []byte
	saves  int
	full   error
}

func (d *disk) open() *History {
	return Open(Options{
		Totals: func() Point {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.totals
		},
		Load: func() ([]byte, error) {
			if d.file == nil {
				return nil, fs.ErrNotExist
			}
			return d.file, nil
		},
		Save: func(raw []byte) error {
			d.saves++
			if d.full == nil {
				d.file = raw
			}
			return d.full
		},
		Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
}

// count counts, once whoever looks at the totals sleeps.
func (d *disk) count(change func(*Point)) {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.totals)
}

func sent(points []Point) (amounts []int64) {
	for _, p := range points {
		amounts = append(amounts, p.Sent)
	}
	return amounts
}

func wantSent(t *testing.T, what string, points []Point, want ...int64) {
	t.Helper()
	if got := sent(points); !slices.Equal(got, want) {
		t.Errorf("%s: sent %v, want %v", what, got, want)
	}
}

func TestMinutesAndHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now().UTC() // a midnight
		d := &disk{totals: Point{Sent: 1000, Blobs: 5}}
		h := d.open()
		if p := h.Points(Fine, time.Time{}); len(p) != 0 {
			t.Errorf("before the first minute there is %v", p)
		}
		d.count(func(p *Point) { p.Sent, p.Hits, p.Blobs = 1010, 1, 7 })
		time.Sleep(90 * time.Second)
		d.count(func(p *Point) { p.Sent = 1030 })
		time.Sleep(time.Minute)
		synctest.Wait()
		points := h.Points(Fine, time.Time{})
		want := []Point{{Time: began, Sent: 10, Hits: 1, Blobs: 7}, {Time: began.Add(time.Minute), Sent: 20, Blobs: 7}}
		if !slices.Equal(points, want) {
			t.Errorf("minutes are %+v, want %+v", points, want)
		}
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		wantSent(t, "hours", h.Points(Coarse, time.Time{}), 30, 0, 0)
		wantSent(t, "later hours", h.Points(Coarse, began.Add(time.Hour)), 0, 0)
		if n := len(h.Points(Fine, began.Add(time.Hour))); n != 62 {
			t.Errorf("%d minutes after the first hour, want 62", n)
		}
		h.Close()
	})
}

// What was counted from the start of a process to its end is in the history of the next.
func TestHistoryOutlivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		h := d.open()
		time.Sleep(10 * time.Second)
		d.count(func(p *Point) { p.Sent = 100 })
		h.Close()
		d.totals = Point{}
		h = d.open()
		time.Sleep(10 * time.Second)
		d.count(func(p *Point) { p.Sent = 3 })
		time.Sleep(time.Minute)
		synctest.Wait()
		wantSent(t, "one minute of two processes", h.Points(Fine, time.Time{}), 103)
		if sum := h.Sum(time.Hour); sum.Sent != 103 {
			t.Errorf("sum is %+v", sum)
		}
		h.Close()
	})
}

// Counters of a store begin anew when that is opened again: nothing is negative, and what
// is counted since is not lost.
func TestCounterThatBeginsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{totals: Point{Sent: 50, Evicted: 500}}
		h := d.open()
		d.count(func(p *Point) { p.Sent, p.Evicted = 60, 20 })
		time.Sleep(61 * time.Second)
		synctest.Wait()
		if p := h.Points(Fine, time.Time{}); len(p) != 1 || p[0].Sent != 10 || p[0].Evicted != 20 {
			t.Errorf("points are %+v", p)
		}
		h.Close()
	})
}

// A day of minutes is kept, and no more. What is idle is not written down.
func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		h := d.open()
		defer h.Close()
		time.Sleep(25*time.Hour + 30*time.Second)
		synctest.Wait()
		wantBounded(t, h.minutes)
		if d.saves != 0 {
			t.Errorf("it was written %d times, and nothing was done", d.saves)
		}
		d.count(func(p *Point) { p.Requests++ })
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.saves != 1 {
			t.Errorf("it was written %d times", d.saves)
		}
	})
}

func wantBounded(t *testing.T, s series) {
	t.Helper()
	first, last := s.points[0].Time, s.points[len(s.points)-1].Time
	if n := len(s.points); n > s.most() || n < s.most()-1 || last.Sub(first) > s.keep {
		t.Errorf("%d points of %v, from %v to %v", n, s.step, first, last)
	}
}

func TestHoursAreBounded(t *testing.T) {
	s := hoursOf(nil)
	for now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC); now.Day() != 20; now = now.Add(20 * time.Minute) {
		s.add(now, Point{Sent: 1}, now)
	}
	wantBounded(t, s)
}

// What cannot be written is written the next time, and what cannot be read is forgotten.
func TestDamagedHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{full: errors.New("full")}
		h := d.open()
		d.count(func(p *Point) { p.Sent = 9 })
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		d.mu.Lock()
		d.full = nil
		d.mu.Unlock()
		h.Close()
		whole := d.file
		for name, damage := range map[string]func([]byte) []byte{
			"cut":     func(b []byte) []byte { return b[:len(b)-3] },
			"flipped": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
			"empty":   func([]byte) []byte { return []byte{} },
		} {
			d.file = damage(slices.Clone(whole))
			h := d.open()
			if p := h.Points(Fine, time.Time{}); len(p) != 0 {
				t.Errorf("%s: %v", name, p)
			}
			h.Close()
		}
		d.file = whole
		h = d.open()
		if sum := h.Sum(time.Hour); sum.Sent != 9 {
			t.Errorf("what was written is %+v", sum)
		}
		h.Close()
	})
}

// A clock that was wrong costs nothing that is still to come.
func TestClockThatJumps(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := minutesOf(nil)
	future := at.Add(1000 * time.Hour)
	for i := range 3000 {
		now := future.Add(time.Duration(i) * time.Minute)
		s.add(now, Point{Sent: 1}, now)
	}
	for i := range 10 {
		now := at.Add(time.Duration(i) * time.Minute)
		s.add(now, Point{Sent: 2}, now)
	}
	if err := s.check(); err != nil || len(s.points) > s.most() {
		t.Errorf("%d points, %v", len(s.points), err)
	}
	wantSent(t, "after it was set back", s.between(time.Time{}, at.Add(10*time.Minute)), 2, 2, 2, 2, 2, 2, 2, 2, 2, 2)
}

func TestNoHistory(t *testing.T) {
	var h *History
	if p := h.Points(Fine, time.Time{}); len(p) != 0 || h.Sum(time.Hour) != (Point{}) {
		t.Error("there is something")
	}
}

// Whatever a file holds, it is refused, or it is a history that can be written again.
func FuzzDecode(f *testing.F) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	pack := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write([]byte(text)); err != nil || w.Close() != nil {
			f.Fatal(err)
		}
		return b.Bytes()
	}
	raw, err := encode(content{Minutes: []Point{{Time: at, Sent: 1, Blobs: 2}}, Hours: []Point{{Time: at, Hits: 3}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	for _, text := range []string{
		``, `{}`, `{"minutes":[{"time":"2026-03-01T12:00:30Z"}]}`, `{"hours":[{"time":"2026-03-01T12:00:00Z","sent_bytes":-1}]}`,
		`{"hours":[{"time":"2026-03-01T12:00:00Z"},{"time":"2026-03-01T11:00:00Z"}]}`, `{"minutes":[{"time":"0000-01-01T00:00:00+23:59"}]}`,
	} {
		f.Add(pack(text))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := decode(raw)
		if err != nil {
			if c.Minutes != nil || c.Hours != nil {
				t.Error("there is something beside an error")
			}
			return
		}
		again, err := encode(c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Error(err)
		}
		s := minutesOf(c.Minutes)
		s.add(at, Point{Sent: 1}, at)
		if err := s.check(); err != nil {
			t.Error(err)
		}
	})
}
