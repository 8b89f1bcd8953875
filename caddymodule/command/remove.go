package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// removePath is where images are removed: POST, with the query parameters
// selection = an upstream, a repository, or an image of one; path = the store, by
// default all in turn; and dry_run=1, which only tells what would go. The answer is
// that of storeLine. The removal ends when the client leaves.
const removePath = "/registry_mirror/remove"

func (AdminAPI) remove(w http.ResponseWriter, r *http.Request) error {
	var path string
	var o storage.RemoveOptions
	err := parameters(r, map[string]func(string) error{
		"path": readText(&path), "selection": readSelection(&o.Selection), "dry_run": readFlag(&o.DryRun),
	})
	if err != nil {
		return err
	}
	return onStores(w, r, path, func(ctx context.Context, c *cache, progress func(storage.RemoveReport)) (storage.RemoveReport, error) {
		o := o
		o.Progress = progress
		return removeFrom(ctx, c.store, o)
	})
}

// removeFrom removes, and says how to go about what is pinned.
func removeFrom(ctx context.Context, s *storage.Store, o storage.RemoveOptions) (storage.RemoveReport, error) {
	report, err := s.Remove(ctx, o)
	var pinned *storage.PinnedError
	switch {
	case !errors.As(err, &pinned):
		return report, err
	case pinned.Stored:
		return report, fmt.Errorf("%w: pullgate mirror unpin %s, then try again", err, pinned.Pin)
	}
	return report, fmt.Errorf("%w, in the configuration: take it out there, then try again", err)
}

func removeCommand() *cobra.Command {
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
pull it again.

The exit code is 0 if it is gone, 1 if nothing is cached of it, and 2 if it could
not be removed. It may be interrupted, and run again.`,
		Example: `  pullgate mirror rm docker.io/library/alpine:3.19
  pullgate mirror rm --dry-run docker.io/library/alpine
  pullgate mirror rm quay.io`,
	}
	addTargetFlags(cmd)
	cmd.Flags().Bool("dry-run", false, "Only tell what would go")
	cmd.Flags().Bool("json", false, "Print the reports as JSON")
	cmd.Args = cobra.MinimumNArgs(1)
	return mirrorCommand(cmd, func(cmd *cobra.Command) (int, error) {
		var todo []oci.Selection
		for _, text := range cmd.Flags().Args() {
			sel, err := oci.ParseSelection(text)
			if err != nil {
				return exitFailure, err
			}
			todo = append(todo, sel)
		}
		worst := 0
		for _, sel := range todo {
			code, err := runRemove(cmd, sel)
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

func runRemove(cmd *cobra.Command, sel oci.Selection) (int, error) {
	o := storage.RemoveOptions{Selection: sel, DryRun: caddycmd.Flags{FlagSet: cmd.Flags()}.Bool("dry-run")}
	c := storeCommand[storage.RemoveReport]{
		path:    removePath,
		query:   url.Values{"selection": {sel.String()}, "dry_run": {strconv.FormatBool(o.DryRun)}},
		doing:   "Removing " + strings.ReplaceAll(sel.String(), "%", "") + " from %s",
		options: storage.Options{Quiet: true},
		offline: func(ctx context.Context, s *storage.Store, progress func(storage.RemoveReport)) (storage.RemoveReport, error) {
			o.Progress = progress
			return removeFrom(ctx, s, o)
		},
	}
	if o.DryRun {
		c.options, c.doing = storage.Options{Inspect: true}, "Looking at %s"
	}
	return runOnStores(cmd, c, func(r storeResult[storage.RemoveReport]) {
		verb := "removed"
		if o.DryRun {
			verb = "would be removed"
		}
		count := humanize.Comma
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s tags, %s manifests and %s blobs %s, %s freed",
			sel, count(r.Report.Tags), count(r.Report.Manifests), count(r.Report.Blobs), verb, size(r.Report.Bytes))
		if n := r.Report.Shared; n > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "; %s stay for others", count(n))
		}
		if n := r.Report.InUse; n > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "; %s stay as they are in use", count(n))
		}
		fmt.Fprintln(cmd.OutOrStdout())
	})
}
