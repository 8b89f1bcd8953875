package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/carry"
)

// carryListed is how many images are printed of those that could fill a screen; JSON
// has all.
const carryListed = 20

// meter tells of the progress of bytes. It is not safe for concurrent use.
type meter struct {
	*progressOutput

	began time.Time
}

func newMeter(side io.Writer) *meter { return &meter{newProgressOutput(side), time.Now()} }

// count is given how many bytes there were so far, of how many; -1 = unknown.
func (m *meter) count(done, total int64) {
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

// printImport prints what came in.
func printImport(w io.Writer, r importResult) {
	fmt.Fprintf(w, "%s: %s, %s new of %s, %s cached already\n", r.Path, counted(len(r.Report.Images), "image"),
		counted(r.Report.Blobs, "blob"), size(r.Report.Bytes), counted(r.Report.Cached, "blob"))
	for _, image := range r.Report.Images[:min(len(r.Report.Images), carryListed)] {
		line := fmt.Sprintf("  %s %s", image.Name, image.Digest)
		if image.Was != "" {
			line += " (was " + image.Was.String() + ")"
		}
		fmt.Fprintln(w, line)
	}
	more(w, len(r.Report.Images))
}
