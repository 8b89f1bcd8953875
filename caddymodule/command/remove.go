package command

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/fleet/text"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) removeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rm [--dry-run] [--storage <dir>] [--address <admin>] <upstream>[/<repository>[:<tag>|@<digest>]]...",
		Short: "Removes images, repositories or upstreams from the cache",
		Long: `
Removes what is cached: one tag, one digest, a repository, or all of an upstream.

With a tag goes what only it needs: other tags keep theirs, and so does what was
pulled by digest. A digest goes with its tags; it may be that of a blob. What other
repositories have, too, stays on the disk for them. What is pinned is refused
("mirror unpin"), and what is being pulled stays.

Nothing is removed from the upstream, and clients that ask again make the gateway
pull it again. With a fleet, it is removed from the bucket and from all gateways: ask
a gateway that runs, since only that has the bucket.

The exit code is 0 if it is gone, 1 if nothing is cached of it, and 2 if it could
not be removed. It may be interrupted, and run again.`,
		Example: `  pullgate mirror rm docker.io/library/alpine:3.19
  pullgate mirror rm --dry-run docker.io/library/alpine
  pullgate mirror rm quay.io`,
	}
	addDryRunFlag(cmd, "Only tell what would go")
	cmd.Args, cmd.ValidArgsFunction = cobra.MinimumNArgs(1), r.completeImages
	return r.gatewayCommand(cmd, func(r *run) (int, error) {
		var todo []oci.Selection
		for _, name := range r.args {
			selection, err := oci.ParseSelection(name)
			if err != nil {
				return exitFailure, err
			}
			todo = append(todo, selection)
		}
		if err := r.find(); err != nil {
			return exitFailure, err
		}
		worst := 0
		for _, selection := range todo {
			code, err := r.remove(selection)
			if code == exitFailure {
				return code, err
			}
			if err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "Error:", err)
			}
			worst = max(worst, code)
		}
		return worst, nil
	})
}

func (r *run) remove(selection oci.Selection) (int, error) {
	q := operate.RemoveRequest{Path: r.path, Selection: selection, DryRun: r.flags.Bool("dry-run")}
	v := storeVerb[operate.RemoveReport, operate.RemoveReport]{
		doing: "Removing " + strings.ReplaceAll(selection.String(), "%", "") + " from %s", options: storage.Options{Quiet: true},
		verb: func(g operate.Gateway, tell func(operate.RemoveLine)) error { return g.Remove(r.ctx, q, tell) },
	}
	verb := "removed"
	if q.DryRun {
		v.options, v.doing, verb = storage.Options{Inspect: true}, "Looking at %s", "would be removed"
	}
	v.show = func(result storeResult[operate.RemoveReport]) {
		report := result.Report
		line := fmt.Sprintf("%s: %s tags, %s manifests and %s blobs %s, %s freed",
			selection, terminal.Number(report.Tags), terminal.Number(report.Manifests), terminal.Number(report.Blobs), verb, terminal.Size(report.Bytes))
		if report.Shared > 0 {
			line += fmt.Sprintf("; %s stay for others", terminal.Number(report.Shared))
		}
		if report.InUse > 0 {
			line += fmt.Sprintf("; %s stay as they are in use", terminal.Number(report.InUse))
		}
		fmt.Fprintln(r.cmd.OutOrStdout(), line+text.Purged(report.Fleet, verb))
	}
	return v.run(r)
}
