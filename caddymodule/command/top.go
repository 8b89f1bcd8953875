package command

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
)

func (m memory) topCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "top [--watch] [--by bytes|errors] [--address <admin>]",
		Short: "Shows who pulls, what, and from where, the most first",
		Long: `
Shows the pulls that run, and the clients, images and upstreams with the most bytes, or
errors, since the server began. Of the many, it knows the most recent hundreds.

The errors of a client are answers with 4xx, unless 404, and with 5xx; of an image, pulls
that failed; of an upstream, answers with 5xx or that were cut.

With --watch it goes on until it is interrupted; in a terminal, in place.

The exit code is 0, and 2 if it could not be found out.`,
		Example: `  pullgate mirror top --watch
  pullgate mirror top --by errors --json`,
	}
	addWatchFlags(cmd)
	cmd.Flags().String("by", "bytes", "What comes first: bytes or errors")
	return m.gatewayCommand(cmd, runTop)
}

// topReport is what top prints.
type topReport struct {
	Running   []operate.Pull       `json:"running"`
	Clients   []operate.PullClient `json:"clients"`
	Images    []operate.PullImage  `json:"images"`
	Upstreams []operate.Traffic    `json:"upstreams"`
}

func runTop(r *run) (int, error) {
	by := r.flags.String("by")
	if by != "bytes" && by != "errors" {
		return exitFailure, fmt.Errorf("--by: %q is neither bytes nor errors", by)
	}
	interval, err := r.interval()
	if err != nil {
		return exitFailure, err
	}
	g, err := r.server()
	if err != nil {
		return exitFailure, err
	}
	out := r.screen()
	return repeat(r, interval, func() (report topReport, err error) {
		seen, err := g.Pulls(r.ctx, operate.PullsRequest{})
		if err != nil {
			return report, err
		}
		status, err := g.Status(r.ctx, "")
		report = topReport{seen.Running, seen.Clients, seen.Images, status.Traffic}
		report.sort(by == "errors")
		return report, err
	}, func(report topReport) (int, error) { return 0, out.Print(report, report.print) })
}

// sort orders by errors first, or by bytes first.
func (t *topReport) sort(errors bool) {
	order := func(errorsA, errorsB, bytesA, bytesB int64) int {
		if errors {
			return cmp.Or(cmp.Compare(errorsB, errorsA), cmp.Compare(bytesB, bytesA))
		}
		return cmp.Or(cmp.Compare(bytesB, bytesA), cmp.Compare(errorsB, errorsA))
	}
	slices.SortStableFunc(t.Clients, func(a, b operate.PullClient) int { return order(a.Errors, b.Errors, a.Bytes, b.Bytes) })
	slices.SortStableFunc(t.Images, func(a, b operate.PullImage) int { return order(a.Errors, b.Errors, a.Bytes, b.Bytes) })
	slices.SortStableFunc(t.Upstreams, func(a, b operate.Traffic) int { return order(a.Errors, b.Errors, a.Sent, b.Sent) })
}

func (t topReport) print(w io.Writer) {
	for _, p := range t.Running[:min(len(t.Running), terminal.Listed)] {
		fmt.Fprintf(w, "%s: %s to %s, %s\n", terminal.Printable(p.Image), terminal.Amount(p.Bytes, p.TotalBytes, p.Took()),
			terminal.Printable(p.Client), strings.ReplaceAll(p.Phase, "_", " "))
	}
	terminal.More(w, len(t.Running))
	if len(t.Running) > 0 {
		fmt.Fprintln(w)
	}
	clients := terminal.NewTable(w, "CLIENT", "USER", "PULLS", "REQUESTS", "ERRORS", "BYTES", "LAST SEEN")
	for _, c := range t.Clients[:min(len(t.Clients), terminal.Listed)] {
		clients.Row(terminal.Printable(c.Client), cmp.Or(terminal.Printable(c.User), "-"), terminal.Number(c.Pulls), terminal.Number(c.Requests),
			terminal.Number(c.Errors), terminal.Size(c.Bytes), at(c.LastSeen))
	}
	clients.Flush()
	terminal.More(w, len(t.Clients))
	fmt.Fprintln(w)
	images := terminal.NewTable(w, "IMAGE", "PULLS", "ERRORS", "BYTES", "LAST PULL")
	for _, i := range t.Images[:min(len(t.Images), terminal.Listed)] {
		images.Row(terminal.Printable(i.Image), terminal.Number(i.Pulls), terminal.Number(i.Errors), terminal.Size(i.Bytes), at(i.LastPull))
	}
	images.Flush()
	terminal.More(w, len(t.Images))
	fmt.Fprintln(w)
	upstreams := terminal.NewTable(w, "UPSTREAM", "REQUESTS", "ERRORS", "SENT", "RECEIVED", "SAVED")
	for _, u := range t.Upstreams {
		upstreams.Row(u.Name, terminal.Number(u.Requests), terminal.Number(u.Errors), terminal.Size(u.Sent), terminal.Size(u.Received), terminal.Size(u.Saved()))
	}
	upstreams.Flush()
}

func at(t time.Time) string { return t.Local().Format(time.DateTime) }
