package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) pinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin [-f <list>] [--storage <dir>] [--address <admin>] [<upstream>/<repository>[:<tag>|@<digest>]...]",
		Short: "Keeps images in the cache, whatever the limits",
		Long: `
Keeps images in the cache: they are neither evicted nor forgotten nor removed, until
"mirror unpin". The pin lies in the storage, beside those of the option pin of the
configuration, and means what these mean: repository and tag may be globs, where *
matches inside a path component and ** across them, and no tag means all tags. What
matches only later is kept from then on. With a fleet, all gateways keep it, and the
bucket does.

A list names images as "mirror preload" reads them: one a line, or in documents of
Kubernetes. There, no tag means latest.

The exit code is 0 if all is pinned, and 2 if it could not be.`,
		Example: `  pullgate mirror pin docker.io/library/alpine:3.20
  pullgate mirror pin 'registry.k8s.io/**'
  talosctl image default | pullgate mirror pin -f -`,
	}
	addFileFlag(cmd)
	cmd.Args, cmd.ValidArgsFunction = cobra.ArbitraryArgs, r.completeImages
	return r.pinsCommand(cmd, operate.Gateway.Pin, "Pinning in %s", printPinned)
}

func (r reader) unpinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin [--storage <dir>] [--address <admin>] <upstream>/<repository>[:<tag>|@<digest>]",
		Short: "Ends what mirror pin did",
		Long: `
Drops a pin that "mirror pin" made, by the pattern as "mirror pins" lists it. What it
kept is not removed: the limits decide from then on. A pin of the configuration is
taken out there. With a fleet, it ends on all gateways: ask one that runs.

The exit code is 0 if it was dropped, 1 if there is no such pin, and 2 if it could
not be dropped.`,
		Example: `  pullgate mirror unpin docker.io/library/alpine:3.20`,
	}
	cmd.Args, cmd.ValidArgsFunction = cobra.ExactArgs(1), r.completePins
	return r.pinsCommand(cmd, operate.Gateway.Unpin, "Unpinning in %s", printUnpinned)
}

func (r reader) pinListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pins [--storage <dir>] [--address <admin>]",
		Short: "Lists what is pinned, where, and how much that is",
		Long: `
Lists the pins of the configuration, and those that "mirror pin" made, with how many
images match and how much their blobs take. Of a storage that no server has open,
those of the --config file are shown.

The exit code is 0, and 2 if it could not be found out.`,
		Example: `  pullgate mirror pins
  pullgate mirror pins --config /etc/caddy/Caddyfile --json`,
	}
	return r.pinsCommand(cmd, operate.Gateway.Pins, "Listing the pins of %s", printPins)
}

func (r reader) pinsCommand(cmd *cobra.Command, verb func(operate.Gateway, context.Context, operate.PinRequest, func(operate.PinLine)) error,
	doing string, show func(*cobra.Command, operate.PinReport),
) *cobra.Command {
	changes := cmd.Args != nil
	return r.gatewayCommand(cmd, func(r *run) (int, error) {
		q, err := r.pinRequest()
		switch {
		case err != nil:
			return exitFailure, err
		case changes && len(q.More) == 0:
			return exitFailure, errors.New("name an image, or a list of them with --file")
		case len(q.More) == 1:
			q.Pin, q.More = q.More[0], nil
		}
		if err := r.find(); err != nil {
			return exitFailure, err
		}
		q.Path = r.path
		return storeVerb[operate.PinReport, operate.PinReport]{
			doing: doing, options: storage.Options{Quiet: true, Inspect: !changes},
			verb: func(g operate.Gateway, tell func(operate.PinLine)) error { return verb(g, r.ctx, q, tell) },
			show: func(result storeResult[operate.PinReport]) {
				if result.Error == "" {
					show(cmd, *result.Report)
				}
			},
		}.run(r)
	})
}

// pinRequest reads what is asked for.
func (r *run) pinRequest() (q operate.PinRequest, err error) {
	patterns := slices.Clone(r.args)
	if r.cmd.Flags().Lookup("file") != nil {
		images, _, errs := r.listed()
		if err := errors.Join(errs...); err != nil {
			return q, err
		}
		for _, i := range images {
			patterns = append(patterns, i.String())
		}
	}
	for _, pattern := range patterns {
		pin, err := oci.ParsePin(pattern)
		if err != nil {
			return q, err
		}
		q.More = append(q.More, pin)
	}
	return q, nil
}

func printPinned(cmd *cobra.Command, r operate.PinReport) {
	for _, p := range r.Pins {
		verb := "pinned"
		if slices.Contains(r.Known, p.Pattern) {
			verb = "was pinned already"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s images, %s\n", p.Pattern, verb, terminal.Number(p.Images), terminal.Size(p.Bytes))
		if p.Images == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "Nothing of it is cached yet: it is kept once it is pulled.")
		}
	}
}

func printUnpinned(cmd *cobra.Command, _ operate.PinReport) {
	fmt.Fprintln(cmd.OutOrStdout(), "unpinned")
}

func printPins(cmd *cobra.Command, r operate.PinReport) {
	t := terminal.NewTable(cmd.OutOrStdout(), "PIN", "IMAGES", "SIZE", "FROM")
	defer t.Flush()
	for _, p := range r.Pins {
		from := "configuration"
		if p.Stored {
			from = "command"
		}
		if p.Made != nil {
			from += ", " + p.Made.Local().Format(time.DateTime)
		}
		t.Row(p.Pattern, terminal.Number(p.Images), terminal.Size(p.Bytes), from)
	}
}
