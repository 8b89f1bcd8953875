package command

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--watch] [--storage <dir>] [--address <admin>]",
		Short: "Shows how the gateway fares",
		Long: `
Shows the storage, what is being downloaded, and for each upstream whether it is
asked at present, and how much of what was asked for came from the cache. Counts are
those since the server began. Of a storage that no server has open, only its size is
shown.

STATE is one of these, the worst at the end; of an upstream with several URLs it is
that of the best one:

	ok                     nothing is wrong
	slow                   answers take long, or did not come in time
	failing                it did not answer, or with 5xx
	denied                 it refuses several repositories
	limited                it has asked for a pause (429, or no requests are left)
	credentials refused    its token server does not accept them
	name does not resolve  the DNS does not know its host
	certificate            there is no trusted TLS connection
	down                   it failed too often, and is left alone until the next probe
	not asked              it is not configured any more

Below the table stands, for each that is not ok, since when, what went wrong last and
what helps. What only one repository has is that one's trouble, and not shown here.
HITS is the share of answers that did not need the upstream.

With --watch it goes on until it is interrupted, also while the server restarts; in a
terminal, in place.

The exit code is 0 if all is well, 1 if an index is not open or an upstream is not ok,
and 2 if it could not be found out.`,
		Example: `  pullgate mirror status --watch
  pullgate mirror status --address unix//run/pullgate/admin.sock --json`,
	}
	cmd.Flags().BoolP("watch", "w", false, "Show it again and again; with --json, one document after another")
	cmd.Flags().Duration("interval", 2*time.Second, "How often --watch looks")
	return r.gatewayCommand(cmd, runStatus)
}

func runStatus(r *run) (int, error) {
	interval := r.flags.Duration("interval")
	if interval < 100*time.Millisecond {
		return exitFailure, fmt.Errorf("--interval: %v is too often, want 100ms or more", interval)
	}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	out := statusOutput{run: r, out: r.cmd.OutOrStdout(), watch: r.flags.Bool("watch"), now: time.Now}
	if r.address == "" && out.watch {
		return exitFailure, fmt.Errorf("there is no server to watch: %w", r.silence)
	}
	if r.address == "" && !r.chosen {
		return exitFailure, fmt.Errorf("there is no server to ask, as %w: name its admin API with --address, or its configuration with --config; --storage shows a storage without server", r.silence)
	}
	g, done, err := r.gateway("Looking at %s", "", storage.Options{Existing: true, Inspect: true})
	if err != nil {
		return exitFailure, err
	}
	code, err := watchStatus(r, g, out, interval)
	if closing := done(); closing != nil && err == nil {
		return exitFailure, closing
	}
	return code, err
}

// watchStatus prints the status, again and again if it is watched.
func watchStatus(r *run, g operate.Gateway, out statusOutput, interval time.Duration) (int, error) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for lost := false; ; {
		s, err := g.Status(r.ctx, r.path)
		switch {
		case r.ctx.Err() != nil && out.watch:
			return 0, nil
		case err != nil && !out.printed:
			return exitFailure, err
		case err != nil: // it was there before, so it may come back
			if !lost {
				r.out.Say("No answer: %v. It is asked again.", err)
			}
		default:
			if err := out.print(s); err != nil {
				return exitFailure, err
			}
		}
		lost = err != nil
		switch {
		case out.watch:
		case well(s):
			return 0, nil
		default:
			return exitFindings, nil
		}
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return 0, nil
		}
	}
}

// well reports whether nothing is wrong.
func well(s operate.Status) bool {
	return !slices.ContainsFunc(s.Storage, func(s operate.StoreStatus) bool { return !s.IndexOpen }) &&
		!slices.ContainsFunc(s.Upstreams, func(u operate.UpstreamStatus) bool { return u.State != operate.StateOK })
}
