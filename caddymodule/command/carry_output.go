package command

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
)

// printExport prints what is in a bundle. Of images that were named, all have to be.
func printExport(w io.Writer, output string, r carry.ExportReport) {
	if len(r.Images) > 0 {
		fmt.Fprintf(w, "%s: %s, %s and %s, %s\n", output, terminal.Counted(len(r.Images), "image"), terminal.Counted(r.Manifests, "manifest"),
			terminal.Counted(r.Blobs, "blob"), terminal.Size(r.Bytes))
	}
	if r.Isolated() {
		fmt.Fprintln(w, "It holds images of upstreams that do not answer everybody: keep it from others")
	}
	if r.LeftOut > 0 {
		fmt.Fprintf(w, "%s of %s left out, which earlier bundles have\n", terminal.Counted(r.LeftOut, "blob"), terminal.Size(r.LeftOutBytes))
	}
	t := terminal.NewTable(w)
	partial := 0
	for _, image := range r.Images {
		if len(image.Uncached) == 0 {
			continue
		}
		if partial++; partial <= terminal.Listed {
			t.Row("  "+image.Name, "only "+strings.Join(image.Platforms, ", "))
		}
	}
	if partial > 0 {
		fmt.Fprintln(w, "Not all platforms are cached, and so not in it, of:")
		t.Flush()
		terminal.More(w, partial)
	}
	if len(r.Missing) == 0 {
		return
	}
	fmt.Fprintln(w, "Not cached as a whole, and so left out:")
	for _, m := range r.Missing[:min(len(r.Missing), terminal.Listed)] {
		reason := m.Reason
		if m.Digest != "" {
			reason += " (" + m.Digest.String() + ")"
		}
		t.Row("  "+terminal.Printable(m.Name), terminal.Printable(reason))
	}
	t.Flush()
	terminal.More(w, len(r.Missing))
}

// printPlan prints what is going to come in, and above all which tags move.
func printPlan(out *terminal.Progress, plan []carry.ImportedImage) {
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
	line := "It brings " + terminal.Counted(len(plan), "image")
	if isolated > 0 {
		line += fmt.Sprintf(", %s of upstreams that do not answer everybody", terminal.Number(isolated))
	}
	switch {
	case len(moves) > 0:
		line += ", and moves " + terminal.Counted(len(moves), "tag") + ":"
	case len(plan) > 0:
		line += ", and moves no tag:"
	}
	var b strings.Builder
	fmt.Fprintln(&b, line)
	for _, image := range moves {
		fmt.Fprintln(&b, terminal.Printable(importedLine(image)))
	}
	kept := slices.DeleteFunc(slices.Clone(plan), func(i carry.ImportedImage) bool { return i.Was != "" })
	for _, image := range kept[:min(len(kept), terminal.Listed)] {
		fmt.Fprintln(&b, terminal.Printable(importedLine(image)))
	}
	terminal.More(&b, len(kept))
	out.Say("%s", strings.TrimSuffix(b.String(), "\n"))
}

func importedLine(image carry.ImportedImage) string {
	line := fmt.Sprintf("  %s %s", image.Name, image.Digest)
	if image.Was != "" {
		line += " (was " + image.Was.String() + ")"
	}
	return line
}

// printImport prints what came in, or would have.
func printImport(w io.Writer, r operate.ImportResult) {
	cached := "cached already"
	if r.DryRun {
		cached += "; a dry run, nothing is changed"
	}
	fmt.Fprintf(w, "%s: %s, %s new of %s, %s %s\n", r.Path, terminal.Counted(len(r.Report.Images), "image"),
		terminal.Counted(r.Report.Blobs, "blob"), terminal.Size(r.Report.Bytes), terminal.Counted(r.Report.Cached, "blob"), cached)
	for _, image := range r.Report.Images[:min(len(r.Report.Images), terminal.Listed)] {
		fmt.Fprintln(w, importedLine(image))
	}
	terminal.More(w, len(r.Report.Images))
}
