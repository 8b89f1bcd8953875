package command

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/fleet/text"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
)

// statusOutput is what status prints.
type statusOutput struct {
	*run

	screen terminal.Screen
	now    func() time.Time
}

func (o *statusOutput) print(s operate.Status) error {
	return o.screen.Print(s, func(w io.Writer) { o.status(w, s) })
}

func (o *statusOutput) status(w io.Writer, s operate.Status) {
	if o.screen.Watch {
		fmt.Fprintf(w, "%s, %s\n\n", o.address, o.now().Format(time.DateTime))
	}
	if g := s.Server; g != nil {
		fmt.Fprintf(w, "pullgate %s, up for %s, at %s\n", g.Version, terminal.Lasted(o.now().Sub(g.Started)), cmp.Or(strings.Join(g.Listen, " "), "no address"))
	}
	for _, c := range s.Storage {
		o.storage(w, c, o.address != "")
	}
	if o.address != "" {
		fmt.Fprintln(w)
		upstreams(w, s)
	}
	problems(w, s)
}

// storage prints the state of one store.
func (o *statusOutput) storage(w io.Writer, c operate.StoreStatus, served bool) {
	fmt.Fprintln(w, c.Path)
	table := terminal.NewTable(w)
	defer table.Flush()
	row := func(name, format string, args ...any) { table.Row("  "+name, fmt.Sprintf(format, args...)) }
	blobs := fmt.Sprintf("%s, %s", terminal.Number(c.Blobs), terminal.Size(c.BlobBytes))
	if c.MaxSize > 0 {
		blobs += fmt.Sprintf(" of %s (max_size)", terminal.Size(c.MaxSize))
	}
	if !c.Counted {
		blobs += ", still being counted"
	}
	if c.PinnedBytes > 0 {
		blobs += fmt.Sprintf(", %s of it pinned", terminal.Size(c.PinnedBytes))
	}
	row("blobs", "%s", blobs)
	row("disk", "%s of %s free, ballast %s", terminal.Size(c.FreeBytes), terminal.Size(c.TotalBytes), terminal.Size(c.BallastBytes))
	switch {
	case !c.IndexOpen:
		row("index", "NOT OPEN: %s", c.IndexError)
	case c.IndexRebuilds > 0:
		row("index", "%s, begun anew as it was damaged: %s", terminal.Size(c.IndexBytes), c.IndexError)
	default:
		row("index", "%s, beside the blobs", terminal.Size(c.IndexBytes))
	}
	row("upkeep", "scrubbed %s, snapshot of the index %s", terminal.Since(c.Scrubbed, o.now()), terminal.Since(c.Snapshot, o.now()))
	if c.Pins > 0 {
		row("pins", "%s", terminal.Number(c.Pins))
	}
	if !served {
		return
	}
	for _, line := range append(text.Bucket(c.Bucket, o.now()), text.Peers(c.Peers, o.now())...) {
		row(line.Name, "%s", line.Text)
	}
	row("downloads", "%d running with %s, %d waiting, %d readers", c.Stats.Fills, terminal.Size(c.Stats.FillBytes), c.Queued, c.Readers)
	row("evicted", "%s blobs, %s, since the start; %s in the last hour", terminal.Number(c.EvictedBlobs), terminal.Size(c.EvictedBytes), terminal.Size(c.EvictedLastHour))
}
