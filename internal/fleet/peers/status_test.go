package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// Each address is told with its state and since when that is so, and what went wrong there
// last also once it answers again.
func TestMembersStatus(t *testing.T) {
	w := &world{answer: map[string]greeting{
		"a": {id: "1", version: "v1.2.3", ahead: 90 * time.Second}, "a2": {id: "1"}, "c": {id: "self"}, "d": {id: "2", draining: true},
	}}
	live(t, w, func(t *testing.T, m *members, discover func(...string)) {
		began := time.Now()
		want := func(address, state string, since time.Time, change func(*MemberStatus)) {
			t.Helper()
			for _, got := range m.status() {
				if got.Address != address {
					continue
				}
				want := MemberStatus{Address: address, State: state, Since: since}
				change(&want)
				if got.Instance = ""; got != want {
					t.Errorf("%+v, want %+v", got, want)
				}
				return
			}
			t.Errorf("%s is not there", address)
		}
		silent := func(s *MemberStatus) {
			s.Error, s.Help = "no answer within 1s", help(errNoAnswer)
			s.LastError, s.LastFailed = s.Error, began.Add(4*time.Second)
		}
		discover("a", "a2", "b", "c", "d")
		want("c", StateSelf, time.Time{}, func(s *MemberStatus) { s.Self, s.Share = true, .5 })
		want("d", StateDraining, began, func(s *MemberStatus) { s.Draining = true })
		want("b", StateUnknown, time.Time{}, func(*MemberStatus) {})
		if s := m.status()[0]; s.State == StateAlive && (s.Version != "v1.2.3" || s.ClockAhead != 90 || s.Share != .5 || !s.Since.Equal(began)) {
			t.Errorf("%+v", s)
		}
		// Both addresses are of one instance; who is first is its member.
		states := map[string]int{}
		for _, s := range m.status() {
			states[s.State]++
		}
		if states[StateAlive] != 1 || states[StateOther] != 1 {
			t.Errorf("%+v", m.status())
		}
		w.set("a2", greeting{})
		time.Sleep(4*time.Second + 1)
		synctest.Wait()
		want("b", StateSilent, began.Add(time.Second), silent)
		w.set("a2", greeting{id: "3"})
		w.set("b", greeting{id: "4"})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		now := time.Now()
		w.set("a", greeting{})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		for _, s := range m.status() {
			switch s.Address {
			case "a":
				if s.State != StateSilent || s.Since.Before(now) || s.Share != 0 {
					t.Errorf("%+v", s)
				}
			case "b":
				if s.State != StateAlive || s.Error != "" || s.LastError == "" || s.LastFailed.After(now) || s.Share != 1./3 {
					t.Errorf("%+v", s)
				}
			}
		}
	})
}

// A clock is off only by what the time of the answer does not explain.
func TestClockAhead(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		told       time.Duration
		took, want time.Duration
	}{
		{0, 0, 0},
		{-time.Second, 0, 0},
		{time.Second, 3 * time.Second, 0},
		{3 * time.Second, 0, 4 * time.Second},
		{-90 * time.Second, 0, -90 * time.Second},
		{time.Hour, time.Second, time.Hour},
	} {
		got := ahead(now.Add(c.told).Format(http.TimeFormat), now, now.Add(c.took))
		if d := got - c.want; d.Abs() > time.Second || (got == 0) != (c.want == 0) {
			t.Errorf("told %v after %v: %v, want %v", c.told, c.took, got, c.want)
		}
	}
	if got := ahead("yesterday", now, now); got != 0 {
		t.Errorf("of what is no date: %v", got)
	}
}

func TestHelp(t *testing.T) {
	for want, err := range map[string]error{
		"same secret": fmt.Errorf("handshake: %w", errSecret),
		"firewall":    fmt.Errorf("%w within 1s", errNoAnswer),
		"start the":   &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)},
		"route":       &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)},
		"the port is": tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"DNS":         &net.DNSError{Err: "no such host"},
		"look into":   errors.New("unexpected EOF"),
	} {
		if got := help(err); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// Gateways tell each other what runs there; a name that is not found is told.
func TestGroupStatus(t *testing.T) {
	t.Parallel()
	at := listen(t)
	newGroup(t, at, new(fake), func(o *Options) { o.Version = "v1.2.3" })
	one := newGroup(t, listen(t), new(fake), func(o *Options) {
		o.Peers = []string{at.Addr().String(), "nowhere:5001"}
		o.LookUp = func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") }
	})
	await(t, "it is found", func() bool { return one.Status().Alive() == 1 })
	s := one.Status()
	if m := s.Members[0]; len(s.Members) != 1 || m.State != StateAlive || m.Version != "v1.2.3" || m.ClockAhead != 0 || m.Share != .5 || m.Since.IsZero() {
		t.Errorf("%+v", s.Members)
	}
	if s.LookUpError != "no such host" {
		t.Errorf("%+v", s)
	}
}
