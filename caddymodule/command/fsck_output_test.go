package command

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func TestProgressOfFsck(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		want     []string
	}{
		{true, []string{
			"\r\x1b[K0 of 100 blobs, 0 B of 300 MiB (0 %)",
			"\r\x1b[K33 of 100 blobs, 100 MiB of 300 MiB (33 %), 10 MiB/s, 20s left",
			"\r\x1b[K66 of 100 blobs, 200 MiB of 300 MiB (66 %), 10 MiB/s, 10s left",
			"\r\x1b[K",
		}},
		{false, []string{
			"33 of 100 blobs, 100 MiB of 300 MiB (33 %), 10 MiB/s, 20s left\n",
			"66 of 100 blobs, 200 MiB of 300 MiB (66 %), 10 MiB/s, 10s left\n",
		}},
	} {
		var side bytes.Buffer
		now := time.Unix(1_800_000_000, 0)
		o := &terminal.Progress{To: &side, InPlace: c.terminal, Now: func() time.Time { return now }}
		o.Begin()
		for k := range int64(3) {
			p := storage.CheckProgress{Blobs: 33 * k, TotalBlobs: 100, Bytes: k * 100 << 20, TotalBytes: 300 << 20}
			o.Show(checkLine(p, o.Since()))
			now = now.Add(50 * time.Millisecond)
			o.Show(checkLine(p, o.Since())) // too soon
			now = now.Add(9950 * time.Millisecond)
		}
		o.End()
		if got, want := side.String(), strings.Join(c.want, ""); got != want {
			t.Errorf("terminal %v: %q, want %q", c.terminal, got, want)
		}
	}
}

func TestProgressOfVerify(t *testing.T) {
	var side bytes.Buffer
	now := time.Unix(1_800_000_000, 0)
	o := &terminal.Progress{To: &side, InPlace: true, Now: func() time.Time { return now }}
	o.Begin()
	for k := range 3 {
		now = now.Add(10 * time.Second)
		o.Show(verifyLine(image.VerifyProgress{Images: 2 * k, Total: 7, Bytes: int64(k) * 100 << 20, TotalBytes: 300 << 20}, o.Since()))
	}
	o.Show("too soon")
	o.End()
	now = now.Add(time.Second)
	o.Show(verifyLine(image.VerifyProgress{Images: 1, Total: 1, Bytes: 1 << 20}, o.Since()))
	want := "\r\x1b[K0 of 7 images, 0 B of 300 MiB (0 %)" +
		"\r\x1b[K2 of 7 images, 100 MiB of 300 MiB (33 %), 5.0 MiB/s, 40s left" +
		"\r\x1b[K4 of 7 images, 200 MiB of 300 MiB (66 %), 6.7 MiB/s, 15s left" +
		"\r\x1b[K\r\x1b[K1 of 1 image, 1.0 MiB read"
	if got := side.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A report holds no more than fits a terminal, and nothing that controls one.
func TestReportOfFsck(t *testing.T) {
	report := storage.CheckReport{Counts: map[storage.FindingKind]storage.FindingCount{
		storage.FindingStray: {Found: 1}, storage.FindingDamaged: {Found: 30, Repaired: 29},
	}, Repair: true}
	report.Findings = append(report.Findings, storage.Finding{Kind: storage.FindingStray, Name: "blobs/\x1b[2J", Reason: "x"},
		storage.Finding{Kind: storage.FindingRecord, Name: "link", Digest: digest.FromString("x"), Reason: "y", Done: "dropped"})
	for range 29 {
		report.Findings = append(report.Findings, storage.Finding{Kind: storage.FindingDamaged, Name: "blobs/x", Reason: "y"})
	}
	var out bytes.Buffer
	printCheck(&out, storeResult[storage.CheckReport]{Path: "/a", Report: &report})
	for _, want := range []string{
		"/a: 31 findings, 2 remain\n", `  stray "blobs/\x1b[2J": x` + "\n", "  record link " + digest.FromString("x").String() + ": y\n",
		"  and 21 more; --json lists up to a thousand\n", "  damaged  30     29      blobs that", "  snapshots   0  none yet",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Count(out.String(), "\n") > 40 {
		t.Errorf("report is:\n%s", &out)
	}
}
