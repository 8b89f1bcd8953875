package caddymodule

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// inventoryPath is where stores tell what they hold: POST, with the query parameters
// path = the store, by default all in turn, and selection = an upstream or a
// repository of one, by default all upstreams. The answer is that of storeLine.
const inventoryPath = "/registry_mirror/inventory"

func (AdminAPI) inventory(w http.ResponseWriter, r *http.Request) error {
	var path string
	var sel oci.Selection
	err := parameters(r, map[string]func(string) error{"path": readText(&path), "selection": readSelection(&sel)})
	if err != nil {
		return err
	}
	return onStores(w, r, path, func(ctx context.Context, c *cache, _ func(storage.Inventory)) (storage.Inventory, error) {
		return c.store.Inventory(ctx, sel)
	})
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls [--storage <dir>] [--address <admin>] [<upstream>[/<repository>]]",
		Short: "Lists what is cached",
		Long: `
Lists the upstreams that something is cached of, the repositories of one upstream,
or the images of one repository: each tag, and what was pulled by digest only.

An image lacks blobs if its manifest is cached and some of what that names is not;
what is missing is pulled when it is next asked for. Of an image with several
platforms, only those count that somebody pulled.

CHECKED is when the upstream last confirmed the tag, USED when a client last got a
manifest of the image, to the hour.

The exit code is 0, 1 if nothing is cached of what was named, and 2 if it could not
be found out.`,
		Example: `  pullgate mirror ls
  pullgate mirror ls docker.io
  pullgate mirror ls docker.io/library/alpine --json`,
	}
	return inventoryCommand(cmd, "Listing %s", printList)
}

func usageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "du [--storage <dir>] [--address <admin>] [<upstream>[/<repository>]]",
		Short: "Shows what takes how much space",
		Long: `
Shows how much space the blobs of each upstream take, of each repository of one
upstream, or of each image of one repository; the largest comes first.

SIZE counts each blob that is cached and belongs there, OWN those that belong to
nothing else: what "mirror rm" would free. Blobs are stored once, so sizes add up
to more than the total.

The exit code is 0, 1 if nothing is cached of what was named, and 2 if it could not
be found out.`,
		Example: `  pullgate mirror du
  pullgate mirror du ghcr.io`,
	}
	return inventoryCommand(cmd, "Measuring %s", printUsage)
}

func inventoryCommand(cmd *cobra.Command, doing string, show func(*cobra.Command, storage.Inventory)) *cobra.Command {
	addTargetFlags(cmd)
	cmd.Flags().Bool("json", false, "Print the report as JSON")
	cmd.Args = cobra.MaximumNArgs(1)
	return mirrorCommand(cmd, func(cmd *cobra.Command) (int, error) {
		sel, err := selectionArgs(cmd.Flags().Args())
		if err != nil {
			return exitFailure, err
		}
		c := storeCommand[storage.Inventory]{
			path: inventoryPath, query: url.Values{"selection": {sel.String()}}, doing: doing,
			options: storage.Options{Inspect: true},
			offline: func(ctx context.Context, s *storage.Store, _ func(storage.Inventory)) (storage.Inventory, error) {
				return s.Inventory(ctx, sel)
			},
		}
		return runOnStores(cmd, c, func(r storeResult[storage.Inventory]) { show(cmd, *r.Report) })
	})
}

func printList(cmd *cobra.Command, v storage.Inventory) {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	defer w.Flush()
	count := humanize.Comma
	if len(v.Holdings) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), "Nothing is cached yet.")
	}
	for n, h := range v.Holdings {
		switch image := h.Image; {
		case image != nil:
			if n == 0 {
				fmt.Fprintln(w, "TAG\tDIGEST\tSIZE\tCHECKED\tUSED\t")
			}
			note := ""
			if image.Absent > 0 {
				note = "lacks " + count(image.Absent) + " blobs"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(image.Tag, "-"), image.Digest, size(h.Bytes), ago(image.Checked), ago(image.Used), note)
		case v.Selection == "":
			if n == 0 {
				fmt.Fprintln(w, "UPSTREAM\tREPOSITORIES\tTAGS\tMANIFESTS\tBLOBS\tSIZE")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Name, count(h.Repositories), count(h.Tags), count(h.Manifests), count(h.Blobs), size(h.Bytes))
		default:
			if n == 0 {
				fmt.Fprintln(w, "REPOSITORY\tTAGS\tMANIFESTS\tBLOBS\tSIZE")
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", h.Name, count(h.Tags), count(h.Manifests), count(h.Blobs), size(h.Bytes))
		}
	}
}

func printUsage(cmd *cobra.Command, v storage.Inventory) {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', tabwriter.AlignRight)
	defer w.Flush()
	slices.SortStableFunc(v.Holdings, func(a, b storage.Holding) int { return cmp.Compare(b.Bytes, a.Bytes) })
	fmt.Fprintln(w, "SIZE\tOWN\tBLOBS\t")
	for _, h := range v.Holdings {
		fmt.Fprintf(w, "%s\t%s\t%s\t  %s\n", size(h.Bytes), size(h.OwnBytes), humanize.Comma(h.Blobs), h.Name)
	}
	if v.UnlinkedBlobs > 0 {
		fmt.Fprintf(w, "%s\t\t%s\t  of no repository any more\n", size(v.UnlinkedBytes), humanize.Comma(v.UnlinkedBlobs))
	}
	fmt.Fprintf(w, "%s\t\t%s\t  all that is stored\n", size(v.Bytes), humanize.Comma(v.Blobs))
}

func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return humanize.Time(*t)
}
