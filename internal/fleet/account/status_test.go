package account

import (
	"errors"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet/caution"
)

// What is not asked is told with since when, and what went wrong last with what helps, also
// if all is well now.
func TestBreakers(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 2, 14, minute, 0, 0, time.UTC) }
	full, silent := &bucket.StatusError{Status: 507}, caution.ErrSilent
	for name, c := range map[string]struct {
		write        caution.State
		reads        []caution.State
		read, wrote  string
		since, wrong time.Time
		last         error
	}{
		"well":            {reads: []caution.State{{}, {}}},
		"it was not":      {reads: []caution.State{{Err: silent, Failed: at(1)}, {}}, wrong: at(1), last: silent},
		"full":            {write: caution.State{Opened: at(2), Err: full, Failed: at(3)}, wrote: full.Error(), since: at(2), wrong: at(3), last: full},
		"both":            {write: caution.State{Opened: at(2), Err: full, Failed: at(3)}, reads: []caution.State{{Opened: at(1), Err: silent, Failed: at(4)}}, wrote: full.Error(), read: silent.Error(), since: at(1), wrong: at(4), last: silent},
		"bodies at first": {reads: []caution.State{{Opened: at(2), Err: silent, Failed: at(2)}, {Opened: at(1), Err: full, Failed: at(1)}}, read: full.Error(), since: at(1), wrong: at(2), last: silent},
	} {
		var s Status
		s.Breakers(c.write, c.reads...)
		since := s.ReadSince
		if since.IsZero() {
			since = s.WriteSince
		}
		if s.ReadError != c.read || s.WriteError != c.wrote || !since.Equal(c.since) || !s.LastFailed.Equal(c.wrong) || s.OK() != (c.read == "" && c.wrote == "") {
			t.Errorf("%s: %+v", name, s)
		}
		if want := c.last; want != nil && (s.LastError != want.Error() || s.Help != bucket.Help(want)) || want == nil && s.LastError != "" {
			t.Errorf("%s: last was %q, and %q helps", name, s.LastError, s.Help)
		}
	}
	if late, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](caution.ErrSilent); !ok || !late.Timeout() {
		t.Error("silence is none")
	}
}

func TestDelays(t *testing.T) {
	var d Delays
	if median, slow := d.Quantiles(); median != 0 || slow != 0 {
		t.Errorf("none are %v, %v", median, slow)
	}
	for range lastDelays {
		d.Add(time.Hour) // which is forgotten
	}
	for n := range lastDelays {
		d.Add(time.Duration(lastDelays - n))
	}
	if median, slow := d.Quantiles(); median != lastDelays/2 || slow != 243 {
		t.Errorf("they are %v, %v", median, slow)
	}
}
