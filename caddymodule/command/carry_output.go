package caddymodule

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/carry"
)

// carryListed is how many images are printed of those that could fill a screen; JSON
// has all.
const carryListed = 20

// meter tells of the progress of bytes. Who sends them and who hears what comes of
// them may use it at the same time.
type meter struct {
	*progressOutput

	mu    sync.Mutex
	began time.Time
}

func newMeter(side io.Writer) *meter {
	return &meter{progressOutput: newProgressOutput(side), began: time.Now()}
}

// say writes a line that stays.
func (m *meter) say(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.progressOutput.say(format, args...)
}

// count is given how many bytes there were so far, of how many; -1 = unknown.
func (m *meter) count(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(meterLine(done, total, m.now().Sub(m.began)))
}

func meterLine(done, total int64, since time.Duration) string {
	line := size(done)
	if total > 0 {
		line += fmt.Sprintf(" of %s (%d %%)", size(total), min(done, total)*100/total)
	}
	if rate := float64(done) / since.Seconds(); since >= time.Second && rate > 0 {
		line += fmt.Sprintf(", %s/s", size(int64(rate)))
		if total > done {
			line += fmt.Sprintf(", %v left", time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	return line
}

// printExport prints what is in a bundle. Of images that were named, all have to be.
func printExport(w io.Writer, output string, r carry.ExportReport) {
	if len(r.Images) > 0 {
		fmt.Fprintf(w, "%s: %s, %s and %s, %s\n", output, counted(len(r.Images), "image"), counted(r.Manifests, "manifest"),
			counted(r.Blobs, "blob"), size(r.Bytes))
	}
	if r.Isolated() {
		fmt.Fprintln(w, "It holds images of upstreams that do not answer everybody: keep it from others")
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(w, "%s of %s left out, which earlier bundles have\n", counted(r.LeftOut, "blob"), size(r.LeftOutBytes))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	listed := 0
	for _, image := range r.Images {
		if len(image.Uncached) == 0 {
			continue
		}
		if listed++; listed <= carryListed {
			fmt.Fprintf(table, "  %s\tonly %s\n", image.Name, strings.Join(image.Platforms, ", "))
		}
	}
	if listed > 0 {
		fmt.Fprintln(w, "Not all platforms are cached, and so not in it, of:")
		table.Flush()
		more(w, listed)
	}
	if len(r.Missing) == 0 {
		return
	}
	fmt.Fprintln(w, "Not cached as a whole, and so left out:")
	for _, m := range r.Missing[:min(len(r.Missing), carryListed)] {
		reason := m.Reason
		if m.Digest != "" {
			reason += " (" + m.Digest.String() + ")"
		}
		fmt.Fprintf(table, "  %s\t%s\n", printable(m.Name), printable(reason))
	}
	table.Flush()
	more(w, len(r.Missing))
}

func more(w io.Writer, listed int) {
	if listed > carryListed {
		fmt.Fprintf(w, "  and %s more; --json lists all\n", humanize.Comma(int64(listed-carryListed)))
	}
}

// printPlan prints what is going to come in, and above all which tags move.
func printPlan(meter *meter, plan []carry.ImportedImage) {
	var moves []carry.ImportedImage
	isolated := 0
	for _, image := range plan {
		if image.Was != "" {
			moves = append(moves, image)
		}
		if image.Isolated {
			isolated++
		}
	}
	line := "It brings " + counted(len(plan), "image")
	if isolated > 0 {
		line += fmt.Sprintf(", %s of upstreams that do not answer everybody", humanize.Comma(int64(isolated)))
	}
	switch {
	case len(moves) > 0:
		line += ", and moves " + counted(len(moves), "tag") + ":"
	case len(plan) > 0:
		line += ", and moves no tag:"
	}
	var b strings.Builder
	fmt.Fprintln(&b, line)
	for _, image := range moves {
		fmt.Fprintln(&b, printable(importedLine(image)))
	}
	fresh := slices.DeleteFunc(slices.Clone(plan), func(i carry.ImportedImage) bool { return i.Was != "" })
	for _, image := range fresh[:min(len(fresh), carryListed)] {
		fmt.Fprintln(&b, printable(importedLine(image)))
	}
	more(&b, len(fresh))
	meter.say("%s", strings.TrimSuffix(b.String(), "\n"))
}

func importedLine(image carry.ImportedImage) string {
	line := fmt.Sprintf("  %s %s", image.Name, image.Digest)
	if image.Was != "" {
		line += " (was " + image.Was.String() + ")"
	}
	return line
}

// printImport prints what came in, or would have.
func printImport(w io.Writer, r importResult) {
	cached := "cached already"
	if r.DryRun {
		cached += "; a dry run, nothing is changed"
	}
	fmt.Fprintf(w, "%s: %s, %s new of %s, %s %s\n", r.Path, counted(len(r.Report.Images), "image"),
		counted(r.Report.Blobs, "blob"), size(r.Report.Bytes), counted(r.Report.Cached, "blob"), cached)
	for _, image := range r.Report.Images[:min(len(r.Report.Images), carryListed)] {
		fmt.Fprintln(w, importedLine(image))
	}
	more(w, len(r.Report.Images))
}
