package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/image"
)

const (
	// preloadBars is how many images have a bar at most, so that the bars fit onto
	// any terminal.
	preloadBars = 8
	// Bar, name and what else there is to say fit into 80 columns.
	preloadBar  = 16
	preloadName = 36
)

// preloadOutput tells of the progress of a preload: in a terminal by bars that stand
// below a line for each image that is done, elsewhere by these lines, and one from
// time to time. It is not safe for concurrent use.
type preloadOutput struct {
	to       io.Writer
	terminal bool
	now      func() time.Time

	began, told time.Time
	stood       int // lines that are to be written again
}

func newPreloadOutput(to io.Writer) *preloadOutput {
	return &preloadOutput{to: to, terminal: isTerminal(to), now: time.Now, began: time.Now(), told: time.Now()}
}

// say writes a line that stays.
func (o *preloadOutput) say(format string, args ...any) {
	o.end()
	fmt.Fprintln(o.to, printable(fmt.Sprintf(format, args...)))
}

// pulled tells that an image is done.
func (o *preloadOutput) pulled(p image.Pulled) {
	stale := ""
	if p.Stale != "" {
		stale = " (its tag as it was known: " + p.Stale + ")"
	}
	switch {
	case p.Error != "":
		o.say("%s: failed%s: %s", p.Image, stale, p.Error)
	case p.Bytes == 0:
		o.say("%s: is cached%s, %s", p.Image, stale, size(p.Size))
	default:
		o.say("%s: pulled%s, %s of %s in %v", p.Image, stale, size(p.Bytes), size(p.Size), p.Duration.Round(100*time.Millisecond))
	}
}

// progress tells how far it got, if it is time to.
func (o *preloadOutput) progress(p image.PreloadProgress) {
	now := o.now()
	if !o.terminal {
		if now.Sub(o.told) >= progressPlain {
			o.told = now
			fmt.Fprintln(o.to, preloadLine(p, now.Sub(o.began)))
		}
		return
	}
	o.end()
	// Lines that are longer than the terminal is wide are cut, not wrapped.
	var b strings.Builder
	b.WriteString("\x1b[?7l")
	for n, r := range p.Running {
		if n == preloadBars {
			break
		}
		what := "reading manifests"
		if r.Size > 0 {
			what = fmt.Sprintf("%s of %s", size(r.Bytes), size(r.Size))
		}
		fmt.Fprintf(&b, "%s %s %s\n", bar(r.Bytes, r.Size), fixed(r.Image.String()), what)
		o.stood++
	}
	fmt.Fprintf(&b, "%s total: %s\n\x1b[?7h", bar(int64(p.Images), int64(p.Total)), preloadLine(p, now.Sub(o.began)))
	o.stood++
	_, _ = io.WriteString(o.to, b.String())
}

// end takes the bars away.
func (o *preloadOutput) end() {
	if o.stood > 0 {
		fmt.Fprintf(o.to, "\x1b[%dA\r\x1b[J", o.stood)
	}
	o.stood = 0
}

func preloadLine(p image.PreloadProgress, since time.Duration) string {
	line := fmt.Sprintf("%s of %s", humanize.Comma(int64(p.Images)), counted(p.Total, "image"))
	if p.Failed > 0 {
		line += fmt.Sprintf(", %s failed", humanize.Comma(int64(p.Failed)))
	}
	line += ", " + size(p.Bytes)
	if since >= time.Second {
		line += fmt.Sprintf(", %s/s", size(int64(float64(p.Bytes)/since.Seconds())))
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
