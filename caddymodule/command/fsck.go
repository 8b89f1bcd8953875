package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/storage"
)

func fsckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fsck [--verify] [--repair] [--rebuild] [--storage <dir>] [--address <admin>]",
		Short: "Checks the storage, and mends it",
		Long: `
Looks for blobs that are damaged, have no record or another size than recorded,
for records without blob, manifests that do not match their digest, and for
leftovers. It only reports what it finds, unless told to --repair:

  damaged      a blob does not match its digest, is empty or cannot be read:
               goes to quarantine/, and is pulled again when next asked for
  size         a blob has another size than its record says: is read, and its
               record corrected, or else it is damaged
  unrecorded   the index does not know a blob: is read, and adopted, or else
               it is damaged
  missing      a record has no blob: is dropped
  manifest     a manifest is not what its digest says: is dropped
  record       a record of a tag, link or manifest is not intact: is dropped
  part         what an interrupted pull left is of no use: is removed
  snapshot     a snapshot of the index is damaged: is removed
  stray        a file is not one of the storage: is removed
  index        the index is damaged: is set aside and begun anew, at once if no
               server runs, otherwise when it starts next

The server that has the storage open does this while it serves, if there is one
and its admin API answers; otherwise the command opens the storage itself, and no
server can have it meanwhile. It says which it is.

With --rebuild, which needs the server to be stopped, the index is begun anew
from what is there: each blob is read and adopted, and tags, manifests and links
come back from a snapshot that is made first.

The exit code is 0 if all is in order or mended, 1 if findings remain, and 2 if
it could not be found out.`,
		Example: `  pullgate mirror fsck
  pullgate mirror fsck --verify --repair --rate 100MiB
  pullgate mirror fsck --address unix//run/pullgate/admin.sock --json
  pullgate mirror fsck --storage /var/lib/pullgate --rebuild`,
	}
	addTargetFlags(cmd)
	cmd.Flags().Bool("verify", false, "Read every blob and compare it with its digest")
	cmd.Flags().Bool("repair", false, "Mend what is found")
	cmd.Flags().Bool("dry-run", false, "Change nothing (the default)")
	cmd.Flags().Bool("rebuild", false, "Begin the index anew; implies --verify and --repair")
	cmd.Flags().String("rate", "", "How much to read per second at most, such as 100MiB (default: no limit)")
	cmd.Flags().Bool("json", false, "Print the reports as JSON")
	return mirrorCommand(cmd, runFsck)
}

// fsck is one run of the command.
type fsck struct {
	options storage.CheckOptions
	rebuild bool
	json    bool
	out     *fsckOutput
}

// fsckResult is what came of one storage, and how it is printed as JSON.
type fsckResult struct {
	Path string `json:"path"`
	// Address is that of the server that checked it; empty = the command did.
	Address string               `json:"address,omitempty"`
	Report  *storage.CheckReport `json:"report,omitempty"`
	Error   string               `json:"error,omitempty"`
}

func runFsck(cmd *cobra.Command) (int, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	f := fsck{
		options: storage.CheckOptions{Verify: flags.Bool("verify"), Repair: flags.Bool("repair")},
		rebuild: flags.Bool("rebuild"), json: flags.Bool("json"),
		out: newFsckOutput(cmd.OutOrStdout(), cmd.ErrOrStderr()),
	}
	if flags.Bool("dry-run") && (f.rebuild || f.options.Repair) {
		return exitFailure, errors.New("--dry-run changes nothing, and --repair and --rebuild do: keep one")
	}
	if f.rebuild {
		f.options.Verify, f.options.Repair = true, true
	}
	if rate := flags.String("rate"); rate != "" {
		var err error
		if f.options.Rate, err = parseSize(rate); err != nil {
			return exitFailure, fmt.Errorf("--rate: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := newTarget(ctx, cmd)
	var results []fsckResult
	switch {
	case err != nil:
	case t.address != "":
		results, err = f.online(ctx, t)
	default:
		results, err = f.offline(ctx, t)
	}
	f.out.endProgress()
	if f.json && results != nil {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		err = errors.Join(err, encoder.Encode(map[string]any{"storage": results}))
	}
	code := 0
	for _, r := range results {
		if !f.json {
			f.out.report(r)
		}
		if r.Error != "" {
			err = errors.Join(err, errors.New(r.Error))
		}
		if _, remaining := r.Report.Found(); remaining > 0 {
			code = exitFindings
		}
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted: the check is not complete")
	}
	if err != nil {
		code = exitFailure
	}
	return code, err
}

// offline opens the storage, and checks it.
func (f *fsck) offline(ctx context.Context, t target) ([]fsckResult, error) {
	f.out.say("Checking %s, as no server has it open (%v).", t.path, t.silence)
	open := storage.Open
	if f.rebuild {
		f.out.say("Beginning the index anew.")
		open = storage.Rebuild
	}
	store, err := t.open(ctx, storage.Options{Existing: true, Quiet: f.options.Repair, Inspect: !f.options.Repair}, open)
	if err != nil {
		return nil, err
	}
	o := f.options
	o.Progress = func(p storage.CheckProgress) { f.out.progress(t.path, p) }
	report, err := store.Check(ctx, o)
	result := fsckResult{Path: t.path, Report: &report}
	if err := errors.Join(err, store.Close()); err != nil {
		result.Error = err.Error()
	}
	return []fsckResult{result}, nil
}

// online lets the server check what it has open.
func (f *fsck) online(ctx context.Context, t target) (results []fsckResult, err error) {
	if f.rebuild {
		return nil, fmt.Errorf("the server at %s is running: %w", t.address, errRebuildOpen)
	}
	query := make(url.Values)
	if t.path != "" {
		query.Set("path", t.path)
	}
	query.Set("verify", strconv.FormatBool(f.options.Verify))
	query.Set("repair", strconv.FormatBool(f.options.Repair))
	if f.options.Rate > 0 {
		query.Set("rate", strconv.FormatInt(f.options.Rate, 10))
	}
	var todo []string
	err = askLines(ctx, t.address, checkPath+"?"+query.Encode(), nil, func(line checkLine) (last bool, err error) {
		switch {
		case line.Path == "":
			todo = line.Paths
		case line.Progress != nil:
			f.out.progress(line.Path, *line.Progress)
			return false, nil
		default:
			f.out.endProgress()
			results = append(results, fsckResult{Path: line.Path, Address: t.address, Report: line.Report, Error: line.Error})
		}
		if len(results) == len(todo) {
			return true, nil
		}
		f.out.say("Checking %s, which the server at %s has open.", todo[len(results)], t.address)
		return false, nil
	})
	return results, err
}
