package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/terminal"
)

// printImages prints what came of a verb on images. chosen says that only some
// platforms count.
func printImages(out io.Writer, r imageResult, chosen bool) {
	names := imageNames(r.Images)
	imagesTable(out, names, r.Images)
	missing := make([]string, 0, len(r.Images))
	otherPlatforms := false
	for i := range r.Images {
		report := &r.Images[i]
		running := slices.ContainsFunc(report.Parts, func(p image.PartReport) bool { return p.Kind == image.KindManifest && p.Complete })
		otherPlatforms = otherPlatforms || running && !report.Complete
		missing = append(missing, missingLines(names[i], report)...)
	}
	if len(missing) > 0 {
		fmt.Fprintln(out, "\nMissing:")
	}
	for _, line := range missing[:min(len(missing), terminal.Listed)] {
		fmt.Fprintln(out, "  "+line)
	}
	terminal.More(out, len(missing))
	t := r.Totals
	how := ""
	if t.Verified > 0 && t.Verified == t.Blobs {
		how = ", every byte verified"
	}
	fmt.Fprintf(out, "\n%s of %s complete: %s blobs, %s%s\n",
		terminal.Number(t.Complete), terminal.Counted(t.Images, "image"), terminal.Number(t.Blobs), terminal.Size(t.Bytes), how)
	for _, platform := range image.Lacked(r.Images) {
		fmt.Fprintf(out, "No image has %s: it may be misspelt.\n", platform)
	}
	if otherPlatforms && !chosen {
		fmt.Fprintln(out, "Some are complete for some platforms. If these are all that your machines run, name them: --platform linux/amd64")
	}
}

// imagesTable prints a row for each image and platform.
func imagesTable(out io.Writer, names []string, reports []image.Report) {
	t := terminal.NewTable(out, "IMAGE", "PLATFORM", "BLOBS", "SIZE", "STATE")
	defer t.Flush()
	for i := range reports {
		r := &reports[i]
		name := names[i]
		if r.Error != "" {
			t.Row(name, "-", "-", "-", "failed")
			name = ""
		}
		for _, p := range r.Parts {
			if p.Kind == image.KindIndex && p.Complete || p.Kind == image.KindReferrers && p.Complete {
				continue // what they name has rows
			}
			blobs, bytes := strconv.Itoa(p.Blobs), terminal.Size(p.Bytes)
			if p.Blobs == 0 {
				blobs, bytes = "-", "-"
			}
			t.Row(name, partName(p), blobs, bytes, partState(p))
			name = ""
		}
	}
}

// imageNames returns what the images are called. The upstream that they come from is
// told where there are several of its name.
func imageNames(reports []image.Report) []string {
	names := make([]string, len(reports))
	times := map[imagelist.Image]int{}
	for i := range reports {
		times[reports[i].Image]++
	}
	for i := range reports {
		names[i] = reports[i].Image.String()
		if times[reports[i].Image] > 1 {
			names[i] += " (" + cmp.Or(reports[i].Upstream, reports[i].Image.Upstream) + ")"
		}
	}
	return names
}

// partName is what stands in the column of the platforms.
func partName(p image.PartReport) string {
	switch {
	case p.Platform != "":
		return p.Platform
	case p.Kind == image.KindManifest:
		return "-"
	}
	return string(p.Kind)
}

func partState(p image.PartReport) string {
	state := "cached"
	switch {
	case p.Kind == image.KindPlatform:
		state = "not in the image"
	case p.Blobs > 0 && len(p.Missing) > 0:
		state = fmt.Sprintf("%d of %s missing", len(p.Missing), terminal.Counted(p.Blobs, "blob"))
	case len(p.Missing) > 0:
		state = "missing"
	}
	return state
}

// missingLines says what is missing of an image, and why.
func missingLines(name string, r *image.Report) (lines []string) {
	if r.Complete {
		return nil
	}
	if r.Error != "" {
		lines = append(lines, terminal.Printable(name+": "+r.Error))
	}
	for _, p := range r.Parts {
		for _, m := range p.Missing {
			if m.Kind == string(image.KindPlatform) && len(lines) > 0 {
				continue // others of the image have it worse
			}
			line := name
			if p.Platform != "" && p.Kind != image.KindPlatform {
				line += " " + p.Platform
			}
			switch {
			case m.Digest != "":
				line += ": " + m.Kind + " " + m.Digest.String() + " "
			case strings.HasPrefix(m.Reason, "is "):
				line += " "
			default:
				line += ": "
			}
			lines = append(lines, terminal.Printable(line+m.Reason))
		}
	}
	return lines
}
