package record

import (
	"testing"
	"time"
)

func TestRoundTrip(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	b := Seal(AppendTime(AppendTime(AppendText(AppendInt(Begin(0), -7), "text"), at), time.Time{}))
	f := Open(b)
	if n, s, then, never := f.Int(), f.Text(), f.Time(), f.Time(); n != -7 || s != "text" || !then.Equal(at) || !never.IsZero() || !f.End() {
		t.Errorf("read %d, %q, %v, %v", n, s, then, never)
	}
	if f := Open(b); f.Left() != 8+5+8+8 || f.End() {
		t.Errorf("%d bytes are left", f.Left())
	}
}

// A record with a bit that is another, or that ends before its end, is none.
func TestDamage(t *testing.T) {
	whole := Seal(AppendText(Begin(0), "text"))
	for n := range whole {
		if Intact(whole[:n]) {
			t.Errorf("the first %d bytes are a record", n)
		}
		other := append([]byte(nil), whole...)
		other[n] ^= 1
		if f := Open(other); Intact(other) || f.Text() != "" || f.End() {
			t.Errorf("with another byte %d it is a record", n)
		}
	}
	if f := Open(whole); f.Int() != 0 || f.End() {
		t.Error("it is read past its end")
	}
}
