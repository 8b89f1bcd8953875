package operate

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
)

// What is not well between gateways is told with since when, cause and cure, and stops no
// pull.
func TestFleetProblems(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)
	ago := now.Add(-time.Hour)
	bucket := func(change func(*fleet.Status)) StoreStatus {
		b := &fleet.Status{Name: "s3"}
		change(b)
		return StoreStatus{Bucket: b}
	}
	others := func(change func(*peers.Status), members ...peers.MemberStatus) StoreStatus {
		p := &peers.Status{Members: append([]peers.MemberStatus{{Address: "self", State: peers.StateSelf}}, members...)}
		change(p)
		return StoreStatus{Peers: p}
	}
	as := func(*peers.Status) {}
	silent := func(address string) peers.MemberStatus {
		return peers.MemberStatus{Address: address, State: peers.StateSilent, Since: ago, Error: "connection refused", Help: "start it"}
	}
	many := func(n int) (all []peers.MemberStatus) {
		for i := range n {
			all = append(all, silent(fmt.Sprint("gateway-", i)))
		}
		return all
	}
	for name, c := range map[string]struct {
		status StoreStatus
		want   []string // name, since, cause and cure, as far as these are told
	}{
		"well": {bucket(func(b *fleet.Status) {
			b.Waiting, b.Oldest, b.LastError, b.LastFailed = 5, now.Add(-time.Minute), "no answer", ago
		}), nil},
		"not read": {bucket(func(b *fleet.Status) { b.ReadError, b.ReadSince, b.Help = "no answer", ago, "start it" }), []string{"s3|1h0m0s|is not read|no answer|start it"}},
		"not written, and so uploads wait": {
			bucket(func(b *fleet.Status) { b.WriteError, b.WriteSince, b.Oldest = "it is full", ago, ago }), []string{"s3|1h0m0s|is not written|it is full|whether the bucket has room"},
		},
		"neither": {
			bucket(func(b *fleet.Status) {
				b.ReadError, b.WriteError, b.ReadSince, b.WriteSince, b.PurgeError = "no answer", "none", ago, now, "none"
			}),
			[]string{"s3|1h0m0s|neither read nor written|no answer"},
		},
		"uploads":     {bucket(func(b *fleet.Status) { b.Waiting, b.Oldest = 7, ago }), []string{"s3|1h0m0s|uploads wait for long, 7 of them|link to the S3 server"}},
		"purges":      {bucket(func(b *fleet.Status) { b.PurgeError, b.PurgesRead = "403", ago }), []string{"s3|1h0m0s|not known what other gateways remove|403|right to list"}},
		"not cleaned": {bucket(func(b *fleet.Status) { b.CleanError, b.CleanFailed = "403", ago }), []string{"s3|1h0m0s|was not cleaned|403|rights to list"}},
		"over":        {bucket(func(b *fleet.Status) { b.Report = &fleet.Report{Ended: ago, Over: true} }), []string{"s3|1h0m0s|pinned images exceed|unpin"}},

		"alive": {others(as, peers.MemberStatus{
			Address: "a", State: peers.StateAlive, Error: "no answer within 1s", ClockAhead: 59,
		}, peers.MemberStatus{Address: "b", State: peers.StateUnknown}), nil},
		"silent":       {others(as, silent("a"), silent("b")), []string{"a|1h0m0s|no gateway answers there: connection refused|start it", "b|1h0m0s|no gateway answers there"}},
		"many silent":  {others(as, many(5)...), []string{"|1h0m0s|at 5 addresses, gateway-0, gateway-1, gateway-2 and others: connection refused|start it"}},
		"clock ahead":  {others(as, peers.MemberStatus{Address: "a", State: peers.StateAlive, ClockAhead: 90}), []string{"a||its clock is 1m30s ahead of this one's|NTP"}},
		"clock behind": {others(as, peers.MemberStatus{Address: "a", State: peers.StateAlive, ClockAhead: -3600}), []string{"a||its clock is 1h0m0s behind this one's|NTP"}},
		"look-up":      {others(func(p *peers.Status) { p.LookUpError = "no such host" }), []string{"||not found: no such host|DNS"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.status.IndexOpen = true
			s := Status{Time: now, Storage: []StoreStatus{c.status}}
			problems := Problems(s)
			if len(problems) != len(c.want) {
				t.Fatalf("problems are %+v, want %q", problems, c.want)
			}
			for i, p := range problems {
				want := strings.Split(c.want[i], "|")
				since := ""
				if !p.Since.IsZero() {
					since = now.Sub(p.Since).String()
				}
				if p.What != ProblemFleet || !p.Minor || p.Name != want[0] || since != want[1] || p.Cure == "" {
					t.Errorf("problem is %+v, want %q", p, want)
				}
				for _, part := range want[2:] {
					if !strings.Contains(p.Cause+" "+p.Cure, part) {
						t.Errorf("problem is %+v, and lacks %q", p, part)
					}
				}
			}
			if !Well(s) {
				t.Error("pulls do not go on")
			}
		})
	}
}
