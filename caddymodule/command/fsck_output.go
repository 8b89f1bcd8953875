package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

const (
	// fsckListed is how many findings are printed; JSON has more.
	fsckListed = 10
	// mismatch is the usual reason, which need not be told.
	mismatch = "bytes do not match the digest"
)

// kinds say what findings are, and what becomes of them.
var kinds = map[storage.FindingKind]string{
	storage.FindingIndex:      "the index as a whole: is set aside and begun anew",
	storage.FindingDamaged:    "blobs that are not what their digest says: to quarantine",
	storage.FindingSize:       "blobs of another size than recorded: the record is corrected",
	storage.FindingUnrecorded: "blobs that the index does not know: are adopted",
	storage.FindingMissing:    "records of blobs that are gone: are dropped",
	storage.FindingManifest:   "manifests that are not what their digest says: are dropped",
	storage.FindingRecord:     "records that cannot be read: are dropped",
	storage.FindingPart:       "leftovers of interrupted pulls: are removed",
	storage.FindingSnapshot:   "snapshots of the index that cannot be read: are removed",
	storage.FindingStray:      "files that are not of the storage: are removed",
}

func checkLine(p storage.CheckProgress, since time.Duration) string {
	return fmt.Sprintf("%s of %s blobs, ", terminal.Number(p.Blobs), terminal.Number(p.TotalBlobs)) + terminal.Amount(p.Bytes, p.TotalBytes, since)
}

// printCheck prints what came of one storage.
func printCheck(out io.Writer, r storeResult[storage.CheckReport]) {
	report := r.Report
	found, remaining := report.Found()
	verdict := "in order"
	switch {
	case r.Error != "":
		verdict = "the check is not complete"
	case found > 0 && remaining == 0:
		verdict = fmt.Sprintf("%s, all mended", terminal.Counted(found, "finding"))
	case found > 0 && report.Repair:
		verdict = fmt.Sprintf("%s, %s remain", terminal.Counted(found, "finding"), terminal.Number(remaining))
	case found > 0:
		verdict = terminal.Counted(found, "finding")
	}
	if found > 0 {
		printFindings(out, report, found)
		fmt.Fprintln(out)
	}
	fmt.Fprintf(out, "%s: %s\n\n", r.Path, verdict)
	printContents(out, report)
	if found == 0 {
		return
	}
	fmt.Fprintln(out)
	printCounts(out, report)
	if !report.Repair {
		fmt.Fprintln(out, "\nNothing was changed. Run it with --repair to mend what was found.")
	}
}

// printContents prints what is there.
func printContents(out io.Writer, r *storage.CheckReport) {
	t := terminal.NewTable(out)
	defer t.Flush()
	row := func(name string, n int64, format string, args ...any) {
		t.Row("  "+name, terminal.Number(n), fmt.Sprintf(format, args...))
	}
	how := "names and sizes only"
	if r.Verify {
		how = "every byte verified"
	} else if r.Verified > 0 {
		how = fmt.Sprintf("%s verified", terminal.Number(r.Verified))
	}
	row("blobs", r.Blobs, "%s, %s", terminal.Size(r.Bytes), how)
	row("manifests", r.Manifests, "")
	tags := ""
	if r.TagsWithoutManifest > 0 {
		tags = terminal.Number(r.TagsWithoutManifest) + " of manifests that are not here"
	}
	row("tags", r.Tags, "%s", tags)
	row("links", r.Links, "")
	row("referrers", r.Referrers, "")
	row("fills", r.FillsRunning+r.FillsSuspended, "%d running, %d suspended with %s", r.FillsRunning, r.FillsSuspended, terminal.Size(r.SuspendedBytes))
	row("quarantine", r.Quarantined, "%s", terminal.Size(r.QuarantinedBytes))
	newest := "none yet: the index cannot be restored"
	if r.Snapshots > 0 {
		newest = fmt.Sprintf("newest of %s with %s records", r.SnapshotTime.Local().Format(time.DateTime), terminal.Number(r.SnapshotRecords))
	}
	row("snapshots", r.Snapshots, "%s", newest)
}

// printCounts prints how many findings there are of each kind.
func printCounts(out io.Writer, r *storage.CheckReport) {
	t := terminal.NewTable(out, "  FINDING", "FOUND", "MENDED", "")
	defer t.Flush()
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		n := r.Counts[kind]
		t.Row("  "+string(kind), terminal.Number(n.Found), terminal.Number(n.Repaired), kinds[kind])
	}
}

// printFindings prints the first findings.
func printFindings(out io.Writer, r *storage.CheckReport, found int64) {
	for _, f := range r.Findings[:min(len(r.Findings), fsckListed)] {
		name := f.Name
		if quoted := strconv.Quote(name); quoted != `"`+name+`"` {
			name = quoted // whoever gave the name has the terminal in mind
		}
		// The file of a blob is found by its digest, which is shorter.
		switch {
		case f.Digest != "" && strings.Contains(f.Name, f.Digest.Encoded()):
			name = f.Digest.String()
		case f.Digest != "":
			name += " " + f.Digest.String()
		}
		line := fmt.Sprintf("  %s %s", f.Kind, name)
		plain := f.Kind == storage.FindingUnrecorded || f.Kind == storage.FindingMissing || f.Reason == mismatch
		if !plain || r.Repair && f.Done == "" {
			line += ": " + f.Reason
		}
		fmt.Fprintln(out, line)
	}
	if more := found - int64(min(len(r.Findings), fsckListed)); more > 0 {
		fmt.Fprintf(out, "  and %s more; --json lists up to a thousand\n", terminal.Number(more))
	}
}
