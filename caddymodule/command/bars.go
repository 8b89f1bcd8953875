package command

import (
	"fmt"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/terminal"
)

const (
	// preloadBars is how many images have a bar at most, so that the bars fit onto
	// any terminal.
	preloadBars = 8
	// Bar, name and what else there is to say fit into 80 columns.
	preloadBar  = 16
	preloadName = 36
)

// sayPulled tells that an image is done.
func sayPulled(out *terminal.Progress, p image.Pulled) {
	stale := ""
	if p.Stale != "" {
		stale = " (its tag as it was known: " + p.Stale + ")"
	}
	what := fmt.Sprintf("pulled%s, %s in %v", stale, terminal.Size(p.Bytes), brief(time.Duration(p.Seconds*float64(time.Second))))
	switch {
	case p.Error != "":
		what = fmt.Sprintf("failed%s: %s", stale, p.Error)
	case p.Blobs == 0:
		what = fmt.Sprintf("has nothing that was asked for%s", stale)
	case p.Bytes == 0:
		what = fmt.Sprintf("is cached%s, %s", stale, terminal.Size(p.Size))
	case p.Bytes < p.Size:
		what += fmt.Sprintf(", and %s were there", terminal.Size(p.Size-p.Bytes))
	}
	out.Say("%s", terminal.Printable(fmt.Sprintf("%s: %s", p.Image, what)))
}

// showPreload tells how far it got.
func showPreload(out *terminal.Progress, p image.PreloadProgress) {
	line := preloadLine(p, out.Since())
	if !out.InPlace {
		out.Show(line)
		return
	}
	var bars []string
	for _, r := range p.Running[:min(len(p.Running), preloadBars)] {
		what := "reading manifests"
		if r.Size > 0 {
			what = fmt.Sprintf("%s of %s", terminal.Size(r.Bytes), terminal.Size(r.Size))
		}
		bars = append(bars, fmt.Sprintf("%s %s %s", bar(r.Bytes, r.Size), fixed(r.Image.String()), what))
	}
	out.Show(bar(int64(p.Images), int64(p.Total))+" total: "+line, bars...)
}

// brief rounds a duration to what people want to know of it, which is never nothing.
func brief(d time.Duration) time.Duration {
	if d < time.Second {
		return max(d.Round(time.Millisecond), time.Millisecond)
	}
	return d.Round(100 * time.Millisecond)
}

// preloadLine tells how far it got, and, from what is known of some images, how much
// there is and how long that takes.
func preloadLine(p image.PreloadProgress, since time.Duration) string {
	line := fmt.Sprintf("%s of %s", terminal.Number(p.Images), terminal.Counted(p.Total, "image"))
	if p.Failed > 0 {
		line += fmt.Sprintf(", %s failed", terminal.Number(p.Failed))
	}
	total, about := p.Size, ""
	if unknown := p.Total - p.Failed - p.Known; unknown > 0 && p.Known > 0 {
		total, about = total+p.Size/int64(p.Known)*int64(unknown), "about "
	}
	line += ", " + terminal.Size(p.Present)
	if total > 0 {
		line += fmt.Sprintf(" of %s%s", about, terminal.Size(total))
	}
	if rate := float64(p.Bytes) / since.Seconds(); since >= time.Second {
		line += fmt.Sprintf(", %s/s", terminal.Size(int64(rate)))
		if total > p.Present && rate > 0 {
			line += fmt.Sprintf(", %s%v left", about, time.Duration(float64(total-p.Present)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	return line
}

// bar shows how much of a whole there is.
func bar(n, of int64) string {
	filled := 0
	if of > 0 {
		filled = int(min(max(n, 0), of) * preloadBar / of)
	}
	return "[" + strings.Repeat("=", filled) + strings.Repeat(" ", preloadBar-filled) + "]"
}

// fixed makes a name as wide as all others. Its end tells more than its beginning.
func fixed(name string) string {
	if len(name) > preloadName {
		return "..." + name[len(name)-preloadName+3:]
	}
	return name + strings.Repeat(" ", preloadName-len(name))
}
