package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/text"
	"github.com/pullgate/pullgate/internal/operate"
)

func syncCommand(r reader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync [--address <admin>]",
		Short: "Brings what is cached to the bucket of the fleet",
		Long: `
Compares the storage of a running server with the bucket that its configuration names
(the option fleet), and brings there what is missing: blobs, manifests, proofs and
tags. It is for the first gateway of a fleet, whose storage is older than the bucket.
What is pulled later goes to the bucket by itself.

It may be interrupted, and goes on with what is missing when it is run again. Pulls
are served meanwhile.

The exit code is 0 if everything is in the bucket, and 2 if something is not.`,
		Example: `  pullgate mirror sync
  pullgate mirror sync --address unix//run/pullgate/admin.sock --json`,
	}
	return r.gatewayCommand(cmd, runSync)
}

func runSync(r *run) (int, error) {
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	q := operate.SyncRequest{Path: r.path}
	return storeVerb[fleet.Synced, fleet.Synced]{
		doing: "Syncing %s", what: "the sync",
		verb: func(g operate.Gateway, tell func(operate.SyncLine)) error { return g.Sync(r.ctx, q, tell) },
		line: func(s fleet.Synced, _ time.Duration) string { return text.Synced(s) },
		show: func(result storeResult[fleet.Synced]) {
			fmt.Fprintf(r.cmd.OutOrStdout(), "%s: %s\n", result.Path, text.Synced(*result.Report))
		},
	}.run(r)
}
