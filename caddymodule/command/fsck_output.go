package caddymodule

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/storage"
)

const (
	// Progress is a line that is written again in a terminal, and one line from
	// time to time elsewhere.
	progressTerminal = 100 * time.Millisecond
	progressPlain    = 10 * time.Second
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

// fsckOutput is what fsck prints: the report to out, everything else to side.
type fsckOutput struct {
	out, side io.Writer
	terminal  bool // side is one
	now       func() time.Time

	began, told time.Time
	path        string // whose progress stands in the line
}

func newFsckOutput(out, side io.Writer) *fsckOutput {
	return &fsckOutput{out: out, side: side, terminal: isTerminal(side), now: time.Now}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func (o *fsckOutput) say(format string, args ...any) { fmt.Fprintf(o.side, format+"\n", args...) }

// progress tells how far a check got, if it is time to.
func (o *fsckOutput) progress(path string, p storage.CheckProgress) {
	now := o.now()
	if path != o.path {
		o.path, o.began, o.told = path, now, time.Time{}
		if !o.terminal {
			o.told = now
		}
	}
	every := progressPlain
	if o.terminal {
		every = progressTerminal
	}
	if now.Sub(o.told) < every {
		return
	}
	o.told = now
	line := progressLine(p, now.Sub(o.began))
	if o.terminal {
		fmt.Fprintf(o.side, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(o.side, line)
	}
}

// endProgress leaves the line of the progress.
func (o *fsckOutput) endProgress() {
	if o.terminal && o.path != "" {
		fmt.Fprint(o.side, "\r\x1b[K")
	}
	o.path = ""
}

func progressLine(p storage.CheckProgress, since time.Duration) string {
	return fmt.Sprintf("%s of %s blobs, ", humanize.Comma(p.Blobs), humanize.Comma(p.TotalBlobs)) + readLine(p.Bytes, p.TotalBytes, since)
}

// readLine tells how much is read of how much, how fast and for how long.
func readLine(bytes, total int64, since time.Duration) string {
	line := fmt.Sprintf("%s of %s", size(bytes), size(total))
	if total > 0 {
		line += fmt.Sprintf(" (%d %%)", bytes*100/total)
	}
	if rate := float64(bytes) / since.Seconds(); since >= time.Second && rate > 0 {
		left := time.Duration(float64(max(total-bytes, 0)) / rate * float64(time.Second)).Round(time.Second)
		line += fmt.Sprintf(", %s/s, %v left", size(int64(rate)), left)
	}
	return line
}

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// report prints what came of one storage.
func (o *fsckOutput) report(r fsckResult) {
	report := r.Report
	if report == nil {
		return
	}
	found, remaining := report.Found()
	verdict := "in order"
	switch {
	case r.Error != "":
		verdict = "the check is not complete"
	case found > 0 && remaining == 0:
		verdict = fmt.Sprintf("%s, all mended", findings(found))
	case found > 0 && report.Repair:
		verdict = fmt.Sprintf("%s, %s remain", findings(found), humanize.Comma(remaining))
	case found > 0:
		verdict = findings(found)
	}
	if found > 0 {
		o.list(report, found)
		fmt.Fprintln(o.out)
	}
	fmt.Fprintf(o.out, "%s: %s\n\n", r.Path, verdict)
	o.contents(report)
	if found == 0 {
		return
	}
	fmt.Fprintln(o.out)
	o.table(report)
	if !report.Repair {
		fmt.Fprintln(o.out, "\nNothing was changed. Run it with --repair to mend what was found.")
	}
}

func findings(n int64) string {
	if n == 1 {
		return "1 finding"
	}
	return humanize.Comma(n) + " findings"
}

// contents prints what is there.
func (o *fsckOutput) contents(r *storage.CheckReport) {
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	row := func(name string, n int64, format string, args ...any) {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", name, humanize.Comma(n), fmt.Sprintf(format, args...))
	}
	how := "names and sizes only"
	if r.Verify {
		how = "every byte verified"
	} else if r.Verified > 0 {
		how = fmt.Sprintf("%s verified", humanize.Comma(r.Verified))
	}
	row("blobs", r.Blobs, "%s, %s", size(r.Bytes), how)
	row("manifests", r.Manifests, "")
	tags := ""
	if r.TagsWithoutManifest > 0 {
		tags = humanize.Comma(r.TagsWithoutManifest) + " of manifests that are not here"
	}
	row("tags", r.Tags, "%s", tags)
	row("links", r.Links, "")
	row("referrers", r.Referrers, "")
	row("fills", r.FillsRunning+r.FillsSuspended, "%d running, %d suspended with %s", r.FillsRunning, r.FillsSuspended, size(r.SuspendedBytes))
	row("quarantine", r.Quarantined, "%s", size(r.QuarantinedBytes))
	newest := "none yet: the index cannot be restored"
	if r.Snapshots > 0 {
		newest = fmt.Sprintf("newest of %s with %s records", r.SnapshotTime.Local().Format(time.DateTime), humanize.Comma(r.SnapshotRecords))
	}
	row("snapshots", r.Snapshots, "%s", newest)
	w.Flush()
}

// table prints how many findings there are of each kind.
func (o *fsckOutput) table(r *storage.CheckReport) {
	w := tabwriter.NewWriter(o.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "  FINDING\tFOUND\tMENDED\t")
	for _, kind := range slices.Sorted(maps.Keys(r.Counts)) {
		n := r.Counts[kind]
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\n", kind, humanize.Comma(n.Found), humanize.Comma(n.Repaired), kinds[kind])
	}
	w.Flush()
}

// list prints the first findings.
func (o *fsckOutput) list(r *storage.CheckReport, found int64) {
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
		fmt.Fprintln(o.out, line)
	}
	if more := found - int64(min(len(r.Findings), fsckListed)); more > 0 {
		fmt.Fprintf(o.out, "  and %s more; --json lists up to a thousand\n", humanize.Comma(more))
	}
}
