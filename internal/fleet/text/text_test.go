package text

import (
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
)

func TestBucket(t *testing.T) {
	now := time.Date(2026, 1, 2, 14, 0, 0, 0, time.UTC)
	var all strings.Builder
	for _, line := range Bucket(&fleet.Status{
		Name: "https://s3.example.com/cache", Behind: true, ReadError: "no answer", WriteError: "it is full", PurgeError: "no list",
		Status: janitor.Status{
			MaxSize:  10 << 40,
			Report:   &fleet.Report{Ended: now.Add(-time.Hour), Blobs: 1200, Bytes: 9 << 40, PinnedBytes: 1 << 40, Removed: 3, RemovedBytes: 5 << 30, Over: true},
			Cleaning: &fleet.Cleaning{Step: "list blobs", Objects: 1000},
		},
	}, now) {
		all.WriteString(line.Name + ": " + line.Text + "\n")
	}
	const want = `bucket: https://s3.example.com/cache: 0 B received, 0 B sent, 0 uploads waiting, to be compared
: NOT READ: no answer
: NOT WRITTEN: it is full
: what other gateways remove is NOT KNOWN: no list
: all gateways: 1,200 blobs, 9.0 TiB of 10 TiB (max_size), 1.0 TiB of it pinned; cleaned 1h0m ago, 3 objects removed, 5.0 GiB
: pinned images exceed max_size by themselves
: being cleaned: list blobs, 1,000 objects
`
	if all.String() != want {
		t.Errorf("it is\n%s, want\n%s", &all, want)
	}
	if lines := Bucket(nil, now); lines != nil {
		t.Errorf("without a bucket it is %v", lines)
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
