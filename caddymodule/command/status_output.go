package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// statusOutput is what status prints.
type statusOutput struct {
	out         io.Writer
	json, watch bool
	now         func() time.Time

	printed bool
}

// print prints a status; in a terminal that watches, in place of the one before.
func (o *statusOutput) print(t target, s gatewayStatus) error {
	var text bytes.Buffer
	switch {
	case o.json:
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(s); err != nil {
			return err
		}
	case o.watch && isTerminal(o.out):
		fmt.Fprint(&text, "\x1b[H") // what stood there is overwritten, which does not flicker
		var screen bytes.Buffer
		o.status(&screen, t, s)
		text.Write(bytes.ReplaceAll(screen.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
		fmt.Fprint(&text, "\x1b[J")
	default:
		if o.printed {
			fmt.Fprintln(&text)
		}
		o.status(&text, t, s)
	}
	o.printed = true
	_, err := o.out.Write(text.Bytes())
	return err
}

func (o *statusOutput) status(w io.Writer, t target, s gatewayStatus) {
	if o.watch {
		fmt.Fprintf(w, "%s, %s\n\n", t.address, o.now().Format(time.DateTime))
	}
	for _, c := range s.Storage {
		o.storage(w, c, t.address != "")
	}
	if t.address != "" {
		fmt.Fprintln(w)
		o.upstreams(w, s)
	}
}

// storage prints the state of one store.
func (o *statusOutput) storage(w io.Writer, c cacheStatus, served bool) {
	fmt.Fprintln(w, c.Path)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	row := func(name, format string, args ...any) {
		fmt.Fprintf(table, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	blobs := fmt.Sprintf("%s, %s", humanize.Comma(c.Blobs), size(c.BlobBytes))
	if !c.Counted {
		blobs += ", still being counted"
	}
	if c.PinnedBytes > 0 {
		blobs += fmt.Sprintf(", %s of it pinned", size(c.PinnedBytes))
	}
	row("blobs", "%s", blobs)
	row("disk", "%s of %s free", size(c.FreeBytes), size(c.TotalBytes))
	switch {
	case !c.IndexOpen:
		row("index", "NOT OPEN: %s", c.IndexError)
	case c.IndexRebuilds > 0:
		row("index", "%s, begun anew as it was damaged: %s", size(c.IndexBytes), c.IndexError)
	default:
		row("index", "%s", size(c.IndexBytes))
	}
	if c.Overpinned {
		row("limits", "pinned images exceed them by themselves: nothing more is stored")
	}
	if c.QuarantinedBlobs > 0 {
		row("damaged", "%s blobs, in quarantine", humanize.Comma(c.QuarantinedBlobs))
	}
	if !served {
		return
	}
	row("downloads", "%d running with %s, %d waiting, %d readers", c.Fills, size(c.FillBytes), c.Queued, c.Readers)
	row("evicted", "%s blobs, %s", humanize.Comma(c.EvictedBlobs), size(c.EvictedBytes))
}

// upstreams prints a line for each upstream, and one more for each of its URLs if it
// has several.
func (o *statusOutput) upstreams(w io.Writer, s gatewayStatus) {
	names := make(map[string]struct{})
	stored, urls, traffic := make(map[string]int64), make(map[string][]breakerStatus), make(map[string]trafficStatus)
	for _, c := range s.Storage {
		for name, bytes := range c.Upstreams {
			if name != "" {
				stored[name] += bytes
				names[name] = struct{}{}
			}
		}
	}
	for _, b := range s.Upstreams {
		urls[b.Name] = append(urls[b.Name], b)
		names[b.Name] = struct{}{}
	}
	for _, t := range s.Traffic {
		traffic[t.Name] = t
		names[t.Name] = struct{}{}
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	defer table.Flush()
	fmt.Fprintln(table, "UPSTREAM\tSTATE\tSTORED\tREQUESTS\tHITS\tSTALE\tERRORS\tSENT\tRECEIVED")
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, hits := traffic[name], "-"
		if share, ok := t.hitRate(); ok {
			hits = fmt.Sprintf("%.0f %%", 100*share)
		}
		state := "not asked"
		if len(urls[name]) > 0 {
			worst := slices.MinFunc(urls[name], func(a, b breakerStatus) int { return a.rank() - b.rank() })
			state = worst.text()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, state, size(stored[name]), humanize.Comma(t.Requests), hits,
			humanize.Comma(t.Stale), humanize.Comma(t.Errors), size(t.Sent), size(t.Received))
		if len(urls[name]) > 1 {
			for _, b := range urls[name] {
				fmt.Fprintf(table, "  %s\t%s\t\t\t\t\t\t\t\n", b.URL, b.text())
			}
		}
	}
}

// rank orders the URLs of an upstream: it is as well as the best of them.
func (b breakerStatus) rank() int {
	return 1000*slices.Index(breakerStates, b.State) + min(b.Fails, 999)
}

func (b breakerStatus) text() string {
	switch {
	case b.State == breakerStates[2]:
		return fmt.Sprintf("down (%s), probe in %v", b.Class, time.Duration(b.Wait*float64(time.Second)).Round(time.Second))
	case b.State == breakerStates[1]:
		return fmt.Sprintf("down (%s), probe is due", b.Class)
	case b.Fails > 0:
		return fmt.Sprintf("failing (%s), %d in a row", b.Class, b.Fails)
	}
	return "ok"
}
