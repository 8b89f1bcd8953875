package caddymodule

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
)

// imagesListed is how many missing things are listed; JSON has all.
const imagesListed = 20

// printImages prints what came of an operation on images.
func printImages(cmd *cobra.Command, o imageOperation, r imagesResult) error {
	if o.json {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	out := cmd.OutOrStdout()
	names := imageNames(r.Images)
	imagesTable(out, names, r.Images)
	listed, more, otherPlatforms := 0, 0, false
	for i := range r.Images {
		report := &r.Images[i]
		running := false
		for _, p := range report.Parts {
			running = running || p.Kind == image.KindManifest && p.Complete
			otherPlatforms = otherPlatforms || running && !report.Complete
		}
		for _, line := range missingLines(names[i], report) {
			if listed++; listed > imagesListed {
				more++
				continue
			}
			if listed == 1 {
				fmt.Fprintln(out, "\nMissing:")
			}
			fmt.Fprintln(out, "  "+line)
		}
	}
	if more > 0 {
		fmt.Fprintf(out, "  and %s more; --json lists all\n", humanize.Comma(int64(more)))
	}
	t := r.Totals
	how := ""
	if t.Verified > 0 && t.Verified == t.Blobs {
		how = ", every byte verified"
	}
	fmt.Fprintf(out, "\n%s of %s complete: %s blobs, %s%s\n",
		humanize.Comma(int64(t.Complete)), counted(t.Images, "image"), humanize.Comma(t.Blobs), size(t.Bytes), how)
	if otherPlatforms && len(o.choice.Platforms) == 0 {
		fmt.Fprintln(out, "Some are complete for some platforms. If these are all that your machines run, name them: --platform linux/amd64")
	}
	return nil
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanize.Comma(int64(n)) + " " + noun + "s"
}

// imagesTable prints a row for each image and platform.
func imagesTable(out io.Writer, names []string, reports []image.Report) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tPLATFORM\tBLOBS\tSIZE\tSTATE")
	for i := range reports {
		r := &reports[i]
		name := names[i]
		if r.Error != "" {
			fmt.Fprintf(w, "%s\t-\t-\t-\t%s\n", name, "failed")
			name = ""
		}
		for _, p := range r.Parts {
			if p.Kind == image.KindIndex && p.Complete || p.Kind == image.KindReferrers && p.Complete {
				continue // what they name has rows
			}
			blobs, bytes := strconv.Itoa(p.Blobs), size(p.Bytes)
			if p.Blobs == 0 {
				blobs, bytes = "-", "-"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", name, partName(p), blobs, bytes, partState(p))
			name = ""
		}
	}
	w.Flush()
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
		state = fmt.Sprintf("%d of %s missing", len(p.Missing), counted(p.Blobs, "blob"))
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
		lines = append(lines, printable(name+": "+r.Error))
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
			lines = append(lines, printable(line+m.Reason))
		}
	}
	return lines
}

// printable quotes what could have a terminal in mind.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}
