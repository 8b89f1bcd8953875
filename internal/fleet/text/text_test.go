package text

import (
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/account"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
	"github.com/pullgate/pullgate/internal/fleet/peers"
)

func TestBucket(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)
	var all strings.Builder
	for _, line := range Bucket(&fleet.Status{
		Name: "https://s3.example.com/cache", Behind: true, ReadError: "no answer", WriteError: "it is full", PurgeError: "no list",
		Detail: account.Detail{
			ReadSince: now.Add(-time.Minute), LastError: "no answer", LastFailed: now, Oldest: now.Add(-2 * time.Hour), PurgesRead: now.Add(-time.Minute), SharedPins: 2,
			Median: .004, Slow: .0321, Budget: .3,
		},
		Status: janitor.Status{
			MaxSize:  10 << 40,
			Report:   &fleet.Report{Ended: now.Add(-time.Hour), Blobs: 1200, Bytes: 9 << 40, PinnedBytes: 1 << 40, Removed: 3, RemovedBytes: 5 << 30, Over: true},
			Cleaning: &fleet.Cleaning{Step: "list blobs", Objects: 1000}, CleanError: "list proofs: no",
		},
	}, now) {
		all.WriteString(line.Name + ": " + line.Text + "\n")
	}
	const want = `bucket: https://s3.example.com/cache: 0 B received, 0 B sent, 0 uploads waiting, to be compared
: NOT READ for 1m0s: no answer
: NOT WRITTEN: it is full
: first byte within 4ms, 95 % within 32.1ms, of 300ms that a read may take
: the oldest upload waits for 2h0m
: what other gateways remove is NOT KNOWN: no list
: what other gateways remove was last read 1 minute ago; 2 pins there
: all gateways: 1,200 blobs, 9.0 TiB of 10 TiB (max_size), 1.0 TiB of it pinned; cleaned 1h0m ago, 3 objects removed, 5.0 GiB
: pinned images exceed max_size by themselves
: being cleaned: list blobs, 1,000 objects
: NOT CLEANED: list proofs: no
`
	if all.String() != want {
		t.Errorf("it is\n%s, want\n%s", &all, want)
	}
	if lines := Bucket(nil, now); lines != nil {
		t.Errorf("without a bucket it is %v", lines)
	}
	// A failure of the past is one.
	lines := Bucket(&fleet.Status{Detail: account.Detail{LastError: "no answer", LastFailed: now.Add(-time.Hour)}}, now)
	if len(lines) != 2 || lines[1].Text != "last failed 1 hour ago: no answer" {
		t.Errorf("it is %v", lines)
	}
}

func TestPeers(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)
	var all strings.Builder
	for _, line := range Peers(&peers.Status{
		Asked: 3, Received: 3 << 20, Answered: 1, Sent: 2 << 20, LookUpError: "no such host",
		Members: []peers.MemberStatus{
			{Address: "a:1", State: peers.StateSelf, Self: true, Instance: "1"},
			{Address: "b:1", State: peers.StateAlive, Instance: "2", Since: now.Add(-3 * time.Hour), Version: "v1.2.3", ClockAhead: -4},
			{Address: "c:1", State: peers.StateAlive, Instance: "3", Since: now.Add(-time.Minute), LastError: "no answer within 1s", LastFailed: now.Add(-2 * time.Minute)},
			{Address: "d:1", State: peers.StateSilent, Since: now.Add(-5 * time.Minute), Error: "connection refused"},
			{Address: "e:1", State: peers.StateDraining, Instance: "4", Draining: true},
			{Address: "f:1", State: peers.StateOther},
			{Address: "g:1", State: peers.StateUnknown},
		},
	}, now) {
		all.WriteString(line.Name + ": " + line.Text + "\n")
	}
	const want = `peers: 2 alive; 3 questions, 3.0 MiB received; 1 answer, 2.0 MiB sent
: a:1 is this gateway
: b:1 alive for 3h0m, v1.2.3, its clock is off by -4s
: c:1 alive for 1m0s, last silent 2 minutes ago (no answer within 1s)
: d:1 SILENT for 5m0s: connection refused
: e:1 about to end
: f:1 is another address of a gateway
: g:1 has not answered yet
: other gateways are NOT FOUND: no such host
`
	if all.String() != want {
		t.Errorf("it is\n%s, want\n%s", &all, want)
	}
	if lines := Peers(nil, now); lines != nil {
		t.Errorf("without others it is %v", lines)
	}
}

func TestSyncedAndPurged(t *testing.T) {
	for got, want := range map[string]string{
		Synced(fleet.Synced{Blobs: 1000, Links: 2, Tags: 1, Uploaded: 1, Bytes: 5 << 20, Failed: 2}): "1,000 blobs, 2 proofs, 1 tags compared; 1 object brought, 5.0 MiB; 2 not",
		Purged(&fleet.Purged{Tags: 1, Proofs: 20}, "removed"):                                        "; on all gateways, 1 tag and 20 proofs removed",
		Purged(nil, "removed"): "",
	} {
		if got != want {
			t.Errorf("it is %q, want %q", got, want)
		}
	}
}
