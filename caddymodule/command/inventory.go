package command

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [--storage <dir>] [--address <admin>] [<upstream>[/<repository>]]",
		Short: "Lists what is cached",
		Long: `
Lists the upstreams that something is cached of, the repositories of one upstream,
or the images of one repository: each tag, and what was pulled by digest only.

An image lacks blobs if its manifest is cached and some of what that names is not;
what is missing is pulled when it is next asked for. Of an image with several
platforms, only those count that somebody pulled.

What other URLs or credentials of an upstream have brought in is named behind it, as
"mirror serve --offline" and the option stored_as take it: docker.io#1f0c5d2a9b7e.

CHECKED is when the upstream last confirmed the tag, USED when a client last got a
manifest of the image, and to the hour only if that was before the server began.

The exit code is 0, 1 if nothing is cached of what was named, and 2 if it could not
be found out.`,
		Example: `  pullgate mirror ls
  pullgate mirror ls docker.io
  pullgate mirror ls docker.io/library/alpine --json`,
	}
	return r.inventoryCommand(cmd, "Listing %s", printList)
}

func (r reader) usageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "du [--storage <dir>] [--address <admin>] [<upstream>[/<repository>]]",
		Short: "Shows what takes how much space",
		Long: `
Shows how much space the blobs of each upstream take, of each repository of one
upstream, or of each image of one repository; the largest comes first.

SIZE counts each blob that is cached and belongs there, OWN those that belong to
nothing else: what "mirror rm" would free. Blobs are stored once, so sizes add up
to more than the total. Without a name, the last line is what "du" tells of the
folder.

The exit code is 0, 1 if nothing is cached of what was named, and 2 if it could not
be found out.`,
		Example: `  pullgate mirror du
  pullgate mirror du ghcr.io`,
	}
	return r.inventoryCommand(cmd, "Measuring %s", printUsage)
}

func (r reader) inventoryCommand(cmd *cobra.Command, doing string, show func(*cobra.Command, storage.Inventory)) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.MaximumNArgs(1), r.completeImages
	return r.gatewayCommand(cmd, func(r *run) (int, error) {
		var q operate.InventoryRequest
		if len(r.args) > 0 {
			var err error
			if q.Selection, err = oci.ParseSelection(r.args[0]); err != nil {
				return exitFailure, err
			}
		}
		if err := r.find(); err != nil {
			return exitFailure, err
		}
		q.Path, q.Disk = r.path, cmd.Name() == "du" && len(r.args) == 0
		return storeVerb[storage.Inventory, storage.Inventory]{
			doing: doing, options: storage.Options{Inspect: true},
			verb: func(g operate.Gateway, tell func(operate.InventoryLine)) error { return g.Inventory(r.ctx, q, tell) },
			show: func(result storeResult[storage.Inventory]) { show(cmd, *result.Report) },
		}.run(r)
	})
}

func printList(cmd *cobra.Command, v storage.Inventory) {
	if len(v.Holdings) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing is cached yet. If the gateway has another storage, name that with --storage or --config.")
		return
	}
	t := terminal.NewTable(cmd.OutOrStdout())
	defer t.Flush()
	switch {
	case v.Holdings[0].Image != nil:
		t.Row("TAG", "DIGEST", "SIZE", "CHECKED", "USED", "")
	case v.Selection == "":
		t.Row("UPSTREAM", "REPOSITORIES", "TAGS", "MANIFESTS", "BLOBS", "SIZE", "")
	default:
		t.Row("REPOSITORY", "TAGS", "MANIFESTS", "BLOBS", "SIZE")
	}
	for _, h := range v.Holdings {
		switch image := h.Image; {
		case image != nil:
			note := ""
			if image.Absent > 0 {
				note = "lacks " + terminal.Number(image.Absent) + " blobs"
			}
			t.Row(cmp.Or(image.Tag, "-"), image.Digest.String(), terminal.Size(h.Bytes), terminal.Ago(image.Checked), terminal.Ago(image.Used), note)
		case v.Selection == "":
			t.Row(h.Name, terminal.Number(h.Repositories), terminal.Number(h.Tags), terminal.Number(h.Manifests), terminal.Number(h.Blobs), terminal.Size(h.Bytes), strings.Join(h.Identities, ", "))
		default:
			t.Row(h.Name, terminal.Number(h.Tags), terminal.Number(h.Manifests), terminal.Number(h.Blobs), terminal.Size(h.Bytes))
		}
	}
}

func printUsage(cmd *cobra.Command, v storage.Inventory) {
	slices.SortStableFunc(v.Holdings, func(a, b storage.Holding) int { return cmp.Compare(b.Bytes, a.Bytes) })
	t := terminal.NewRightTable(cmd.OutOrStdout(), "SIZE", "OWN", "BLOBS", "")
	defer t.Flush()
	for _, h := range v.Holdings {
		t.Row(terminal.Size(h.Bytes), terminal.Size(h.OwnBytes), terminal.Number(h.Blobs), "  "+h.Name)
	}
	if v.UnlinkedBlobs > 0 {
		t.Row(terminal.Size(v.UnlinkedBytes), "", terminal.Number(v.UnlinkedBlobs), "  of no repository any more")
	}
	t.Row(terminal.Size(v.Bytes), "", terminal.Number(v.Blobs), "  all that is stored")
	if d := v.Disk; d != nil {
		t.Row(terminal.Size(d.Total()), "", "", fmt.Sprintf("  on the disk: blobs %s, index %s, ballast %s, all else %s",
			terminal.Size(d.Blobs), terminal.Size(d.Index), terminal.Size(d.Ballast), terminal.Size(d.Other)))
	}
}
