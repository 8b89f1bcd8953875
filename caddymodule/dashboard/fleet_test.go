package dashboard

import (
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/account"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/operate"
)

// inFleet returns a snapshot of a gateway in a fleet, some time after a bucket and a
// gateway were lost.
func inFleet(p *page, seconds int) *snapshot {
	now := time.Date(2026, 1, 2, 14, 0, seconds, 0, time.UTC)
	status := operate.Status{
		Time: now, Server: &operate.Server{Version: "v1.2.3", Host: "gate-2"},
		Storage: []operate.StoreStatus{{
			Bucket: &fleet.Status{
				Name: "https://s3.internal/cache", Reads: 12340 + int64(seconds), Writes: 7, Received: 1234567, WriteError: "it is full",
				Detail: account.Detail{WriteSince: now.Add(-time.Hour), LastError: "it is full", Help: "make room there", PurgesRead: now},
			},
			Peers: &peers.Status{Instance: "0123456789abcdef", Members: []peers.MemberStatus{
				{Address: "10.0.0.2:5001", State: peers.StateSilent, Error: "connection refused", Help: "start it"},
			}},
		}},
	}
	return &snapshot{status: status, sites: p.sites(), problems: operate.Problems(status)}
}

// Other gateways and their bucket are shown to who may pull from every upstream, with what
// is wrong there; to others nothing is told of them.
func TestFleetIsForWhoSeesAll(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "alice.example": {"alice"}})
	s := inFleet(p, 0)
	for user, sees := range map[string]bool{"": false, "bob": false, "alice": true} {
		text := string(s.view(audienceOf(s.sites, user)).encode())
		for _, part := range []string{"s3.internal", "10.0.0.2:5001", "gate-2", "it is full", "make room there", "start it", "0123456789abcdef", `"what":"fleet"`} {
			if strings.Contains(text, part) != sees {
				t.Errorf("%q is told of %q: %v, in %s", user, part, !sees, text)
			}
		}
	}
	_ = p.Cleanup()
	p.ShowAll = true
	p.start(t.Context())
	if text := string(s.view(p.run.allowed.audience(s.sites, "")).encode()); !strings.Contains(text, "10.0.0.2:5001") {
		t.Errorf("an operator is not told: %s", text)
	}
	if b := s.status.Storage[0].Bucket; b == nil || b.Reads != 12340 {
		t.Errorf("the snapshot itself has become %+v", b)
	}
}

// The bucket is asked each second, which is no news.
func TestIdleFleetIsNoNews(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil})
	view := func(seconds int) string {
		s := inFleet(p, seconds)
		b := s.status.Storage[0].Bucket
		b.WriteSince = time.Time{}
		s.problems = nil
		return string(s.view(audienceOf(s.sites, "")).encode())
	}
	if first := view(1); first != view(9) || first == view(10) {
		t.Errorf("it is %s", first)
	}
	for n, want := range map[int64]int64{0: 0, 7: 7, 99: 99, 100: 100, 128: 120, 999: 990, 1234: 1230, 12345: 12300, 1234567: 1230000} {
		if got := rounded(n); got != want {
			t.Errorf("%d is told as %d, want %d", n, got, want)
		}
	}
}
