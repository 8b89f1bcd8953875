package caddymodule

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// pinsPath, pinPath and unpinPath are where pins are listed, stored and dropped: POST,
// with the query parameters path = the store, by default all in turn, and but for the
// first pattern = what to keep, as in the option pin. The answer is that of storeLine.
const (
	pinsPath  = "/registry_mirror/pins"
	pinPath   = "/registry_mirror/pin"
	unpinPath = "/registry_mirror/unpin"
)

// pinReport is what is pinned: by the command, or by all pins.
type pinReport struct {
	// Changed says that there was no such pin before, or is none any more.
	Changed bool             `json:"changed,omitempty"`
	Pins    []storage.PinUse `json:"pins"`
}

func (AdminAPI) pins(w http.ResponseWriter, r *http.Request) error {
	var path string
	var pin oci.Pin
	known := map[string]func(string) error{
		"path": readText(&path),
		"pattern": func(value string) (err error) {
			pin, err = oci.ParsePin(value)
			return err
		},
	}
	operation := pinOperations[r.URL.Path]
	if err := parameters(r, known); err != nil {
		return err
	}
	return onStores(w, r, path, func(ctx context.Context, c *cache, _ func(pinReport)) (pinReport, error) {
		return operation(ctx, c.store, pin)
	})
}

var pinOperations = map[string]func(context.Context, *storage.Store, oci.Pin) (pinReport, error){
	pinsPath: listPins, pinPath: addPin, unpinPath: dropPin,
}

func listPins(ctx context.Context, s *storage.Store, _ oci.Pin) (pinReport, error) {
	uses, err := s.PinUses(ctx)
	return pinReport{Pins: uses}, err
}

func addPin(ctx context.Context, s *storage.Store, pin oci.Pin) (report pinReport, err error) {
	if report.Changed, err = s.Pin(ctx, pin); err != nil {
		return report, err
	}
	uses, err := s.PinUses(ctx)
	for _, use := range uses {
		if use.Stored && use.Pattern == pin.String() {
			report.Pins = append(report.Pins, use)
		}
	}
	return report, err
}

func dropPin(ctx context.Context, s *storage.Store, pin oci.Pin) (report pinReport, err error) {
	if report.Changed, err = s.Unpin(ctx, pin); err != nil {
		return report, err
	}
	uses, err := s.PinUses(ctx)
	if err != nil {
		return report, err
	}
	for _, use := range uses {
		if use.Pattern == pin.String() {
			return report, fmt.Errorf("%s is pinned by the configuration: take it out of the option pin of storage there", pin)
		}
	}
	if !report.Changed {
		return report, noPinError(pin.String())
	}
	return report, nil
}

// noPinError is an fs.ErrNotExist.
type noPinError string

func (e noPinError) Error() string {
	return fmt.Sprintf("there is no pin %s: \"mirror pins\" lists what there is", string(e))
}

func (noPinError) Is(target error) bool { return target == fs.ErrNotExist }

func pinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pin [--storage <dir>] [--address <admin>] <upstream>/<repository>[:<tag>|@<digest>]",
		Short: "Keeps images in the cache, whatever the limits",
		Long: `
Keeps images in the cache: they are neither evicted nor forgotten nor removed, until
"mirror unpin". The pin lies in the storage, beside those of the option pin of the
configuration, and means what these mean: repository and tag may be globs, where *
matches inside a path component and ** across them, and no tag means all tags. What
matches only later is kept from then on.

The exit code is 0 if it is pinned, and 2 if it could not be.`,
		Example: `  pullgate mirror pin docker.io/library/alpine:3.20
  pullgate mirror pin 'registry.k8s.io/**'`,
	}
	return pinsCommand(cmd, pinPath, "Pinning in %s", printPinned)
}

func unpinCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unpin [--storage <dir>] [--address <admin>] <upstream>/<repository>[:<tag>|@<digest>]",
		Short: "Ends what mirror pin did",
		Long: `
Drops a pin that "mirror pin" made, by the pattern as "mirror pins" lists it. What it
kept is not removed: the limits decide from then on. A pin of the configuration is
taken out there.

The exit code is 0 if it was dropped, 1 if there is no such pin, and 2 if it could
not be dropped.`,
		Example: `  pullgate mirror unpin docker.io/library/alpine:3.20`,
	}
	return pinsCommand(cmd, unpinPath, "Unpinning in %s", printUnpinned)
}

func pinListCommand() *cobra.Command {
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
	return pinsCommand(cmd, pinsPath, "Listing the pins of %s", printPins)
}

func pinsCommand(cmd *cobra.Command, path, doing string, show func(*cobra.Command, pinReport)) *cobra.Command {
	addTargetFlags(cmd)
	cmd.Flags().Bool("json", false, "Print the report as JSON")
	if path != pinsPath {
		cmd.Args = cobra.ExactArgs(1)
	}
	return mirrorCommand(cmd, func(cmd *cobra.Command) (int, error) {
		var pin oci.Pin
		query := make(url.Values)
		if args := cmd.Flags().Args(); len(args) > 0 {
			var err error
			if pin, err = oci.ParsePin(args[0]); err != nil {
				return exitFailure, err
			}
			query.Set("pattern", pin.String())
		}
		c := storeCommand[pinReport]{
			path: path, query: query, doing: doing,
			options: storage.Options{Quiet: true, Inspect: path == pinsPath},
			offline: func(ctx context.Context, s *storage.Store, _ func(pinReport)) (pinReport, error) {
				return pinOperations[path](ctx, s, pin)
			},
		}
		return runOnStores(cmd, c, func(r storeResult[pinReport]) {
			if r.Error == "" {
				show(cmd, *r.Report)
			}
		})
	})
}

func printPinned(cmd *cobra.Command, r pinReport) {
	for _, p := range r.Pins {
		verb := "pinned"
		if !r.Changed {
			verb = "was pinned already"
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s, %s images, %s\n", p.Pattern, verb, humanize.Comma(p.Images), size(p.Bytes))
		if p.Images == 0 {
			fmt.Fprintln(cmd.ErrOrStderr(), "Nothing of it is cached yet: it is kept once it is pulled.")
		}
	}
}

func printUnpinned(cmd *cobra.Command, _ pinReport) {
	fmt.Fprintln(cmd.OutOrStdout(), "unpinned")
}

func printPins(cmd *cobra.Command, r pinReport) {
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	defer w.Flush()
	fmt.Fprintln(w, "PIN\tIMAGES\tSIZE\tFROM")
	for _, p := range r.Pins {
		from := "configuration"
		if p.Stored {
			from = "command"
		}
		if p.Made != nil {
			from += ", " + p.Made.Local().Format(time.DateTime)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.Pattern, humanize.Comma(p.Images), size(p.Bytes), from)
	}
}
