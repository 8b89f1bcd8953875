package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// statusOutput is what status prints.
type statusOutput struct {
	*run

	out   io.Writer
	watch bool
	now   func() time.Time

	printed bool
}

// print prints a status; in a terminal that watches, in place of the one before.
func (o *statusOutput) print(s operate.Status) error {
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
		o.status(&screen, s)
		text.Write(bytes.ReplaceAll(screen.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
		fmt.Fprint(&text, "\x1b[J")
	default:
		if o.printed {
			fmt.Fprintln(&text)
		}
		o.status(&text, s)
	}
	o.printed = true
	_, err := o.out.Write(text.Bytes())
	return err
}

func (o *statusOutput) status(w io.Writer, s operate.Status) {
	if o.watch {
		fmt.Fprintf(w, "%s, %s\n\n", o.address, o.now().Format(time.DateTime))
	}
	for _, c := range s.Storage {
		o.storage(w, c, o.address != "")
	}
	if o.address != "" {
		fmt.Fprintln(w)
		o.upstreams(w, s)
	}
}

// storage prints the state of one store.
func (o *statusOutput) storage(w io.Writer, c operate.StoreStatus, served bool) {
	fmt.Fprintln(w, c.Path)
	table := newTable(w)
	defer table.Flush()
	row := func(name, format string, args ...any) { table.row("  "+name, fmt.Sprintf(format, args...)) }
	blobs := fmt.Sprintf("%s, %s", number(c.Blobs), size(c.BlobBytes))
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
		row("damaged", "%s blobs, in quarantine", number(c.QuarantinedBlobs))
	}
	if !served {
		return
	}
	row("downloads", "%d running with %s, %d waiting, %d readers", c.Stats.Fills, size(c.Stats.FillBytes), c.Queued, c.Readers)
	row("evicted", "%s blobs, %s", number(c.EvictedBlobs), size(c.EvictedBytes))
}

// upstreams prints a line for each upstream, and one more for each of its URLs if it
// has several.
func (o *statusOutput) upstreams(w io.Writer, s operate.Status) {
	names := make(map[string]struct{})
	stored, urls, traffic := make(map[string]int64), make(map[string][]operate.UpstreamStatus), make(map[string]operate.Traffic)
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
	table := newTable(w, "UPSTREAM", "STATE", "STORED", "REQUESTS", "HITS", "STALE", "ERRORS", "SENT", "RECEIVED")
	defer table.Flush()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, hits := traffic[name], "-"
		if share, ok := t.HitRate(); ok {
			hits = fmt.Sprintf("%.0f %%", 100*share)
		}
		state := "not asked"
		if len(urls[name]) > 0 {
			worst := slices.MinFunc(urls[name], func(a, b operate.UpstreamStatus) int { return rank(a) - rank(b) })
			state = stateText(worst)
		}
		table.row(name, state, size(stored[name]), number(t.Requests), hits, number(t.Stale), number(t.Errors), size(t.Sent), size(t.Received))
		if len(urls[name]) > 1 {
			for _, b := range urls[name] {
				table.row("  "+b.URL, stateText(b), "", "", "", "", "", "", "")
			}
		}
	}
}

// rank orders the URLs of an upstream: it is as well as the best of them.
func rank(u operate.UpstreamStatus) int { return 1000*u.Level() + min(u.Fails, 999) }

func stateText(u operate.UpstreamStatus) string {
	switch {
	case u.State == operate.BreakerOpen:
		return fmt.Sprintf("down (%s), probe in %v", u.Class, time.Duration(u.Wait*float64(time.Second)).Round(time.Second))
	case u.State == operate.BreakerHalfOpen:
		return fmt.Sprintf("down (%s), probe is due", u.Class)
	case u.Fails > 0:
		return fmt.Sprintf("failing (%s), %d in a row", u.Class, u.Fails)
	}
	return "ok"
}
