package command

import (
	"fmt"
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

Below the table stand the problems, those of the storage, too: since when, what went
wrong last and what helps. What only one repository has is that one's trouble, and not
shown here.
HITS is the share of answers that cost the link to the upstream nothing: neither by
themselves nor for the pull that they belong to. PREFETCHED is the share of those
that were there because of looking ahead. SAVED is how much more was sent than
received, preload apart.

With --watch it goes on until it is interrupted, also while the server restarts; in a
terminal, in place.

The exit code is 0 if all is well, 1 if an upstream is not ok or the storage keeps
nothing more, and 2 if it could not be found out.`,
		Example: `  pullgate mirror status --watch
  pullgate mirror status --address unix//run/pullgate/admin.sock --json`,
	}
	addWatchFlags(cmd)
	return r.gatewayCommand(cmd, runStatus)
}

func runStatus(r *run) (int, error) {
	interval, err := r.interval()
	if err != nil {
		return exitFailure, err
	}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	out := statusOutput{run: r, screen: r.screen(), now: time.Now}
	if r.address == "" && out.screen.Watch {
		return exitFailure, fmt.Errorf("there is no server to watch: %w", r.silence)
	}
	if r.address == "" && !r.chosen {
		return exitFailure, fmt.Errorf("there is no server to ask, as %w: name its admin API with --address, or its configuration with --config; --storage shows a storage without server", r.silence)
	}
	g, done, err := r.gateway("Looking at %s", "", storage.Options{Existing: true, Inspect: true})
	if err != nil {
		return exitFailure, err
	}
	code, err := repeat(r, interval, func() (operate.Status, error) { return g.Status(r.ctx, r.path) }, func(s operate.Status) (int, error) {
		if err := out.print(s); err != nil || operate.Well(s) {
			return 0, err
		}
		return exitFindings, nil
	})
	if closing := done(); closing != nil && err == nil {
		return exitFailure, closing
	}
	return code, err
}
