package mirror

import (
	"testing"
	"testing/synctest"
	"time"
)

// The end waits for what runs, but not for ever, and nothing begins after it.
func TestLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newLife()
		hangs, ended := make(chan struct{}), make(chan struct{})
		if !l.start(func() { <-hangs }) || !l.start(func() { <-l.ctx.Done(); close(ended) }) {
			t.Fatal("it is over before its end")
		}
		began := time.Now()
		if l.close(time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("the end came after %v, with something running", time.Since(began))
		}
		<-ended
		if l.start(func() { t.Error("something began after the end") }) {
			t.Error("something may begin after the end")
		}
		time.AfterFunc(time.Second, func() { close(hangs) })
		began = time.Now()
		if !l.close(time.Minute) || time.Since(began) != time.Second {
			t.Errorf("nothing runs, and the end took %v", time.Since(began))
		}
		if !newLife().close(time.Second) {
			t.Error("one that had nothing to do does not end")
		}
	})
}
