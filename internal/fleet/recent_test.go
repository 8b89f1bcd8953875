package fleet

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

func TestRecent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recent
		r.add("a", time.Second)
		if !r.has("a") || r.has("b") || !r.drop("a") || r.drop("a") {
			t.Error("it does not remember, or forget")
		}
		r.add("a", time.Second)
		time.Sleep(time.Second)
		if r.has("a") {
			t.Error("it remembers for too long")
		}
		for n := range maxRecent + 10 {
			r.add(strconv.Itoa(n), time.Hour)
		}
		if len(r.until) > maxRecent {
			t.Errorf("it remembers %d", len(r.until))
		}
	})
}

func TestKeys(t *testing.T) {
	s, d := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "library/a"}, oci.Sum(nil)
	for got, want := range map[string]string{
		blobKey(d): "v1/b/sha256/" + d.Encoded(), manifestKey(d): "v1/m/sha256/" + d.Encoded(),
		proofKey(s, d):     "v1/l/docker.io~0123456789ab/library/a/_/sha256-" + d.Encoded(),
		referrersKey(s, d): "v1/r/docker.io~0123456789ab/library/a/_/sha256-" + d.Encoded(),
		tagKey(s, "3.20"):  "v1/t/docker.io~0123456789ab/library/a/_/3.20",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// A breaker opens after some failures in a row, and closes once a probe goes well.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unwell, told, probes := errors.New("unwell"), 0, 0
		b := &breaker{ctx: t.Context(), start: func(fn func()) { go fn() }, told: func(bool, error) { told++ }, probe: func(context.Context) error {
			if probes++; probes == 1 {
				return unwell
			}
			return nil
		}}
		for _, err := range []error{unwell, unwell, nil, unwell, unwell} {
			if b.note(err); b.open() != nil {
				t.Error("it opens too early")
			}
		}
		b.note(unwell)
		if b.open() == nil || !errors.Is(b.trouble(), unwell) {
			t.Error("it does not open")
		}
		began := time.Now()
		if !b.await(t.Context()) || time.Since(began) != 2*probeEvery || b.trouble() != nil {
			t.Errorf("it closes after %v", time.Since(began))
		}
		synctest.Wait()
		if told != 2 {
			t.Errorf("it tells %d times", told)
		}
	})
}

// Nothing starts once a life is over, and its end waits for what runs.
func TestLife(t *testing.T) {
	var l life
	l.ctx, l.end = context.WithCancel(t.Context())
	ended := false
	l.start(func() {
		<-l.ctx.Done()
		ended = true
	})
	l.close()
	l.start(func() { t.Error("it starts after the end") })
	if l.close(); !ended {
		t.Error("it is not waited for")
	}
}
