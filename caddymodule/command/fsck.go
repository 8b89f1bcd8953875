package command

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) fsckCommand() *cobra.Command {
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
	cmd.Flags().Bool("verify", false, "Read every blob and compare it with its digest")
	cmd.Flags().Bool("repair", false, "Mend what is found")
	addDryRunFlag(cmd, "Change nothing (the default)")
	cmd.Flags().Bool("rebuild", false, "Begin the index anew; implies --verify and --repair")
	addRateFlag(cmd)
	return r.gatewayCommand(cmd, runFsck)
}

func runFsck(r *run) (int, error) {
	q := operate.CheckRequest{Verify: r.flags.Bool("verify"), Repair: r.flags.Bool("repair")}
	rebuild := r.flags.Bool("rebuild")
	if r.flags.Bool("dry-run") && (rebuild || q.Repair) {
		return exitFailure, errors.New("--dry-run changes nothing, and --repair and --rebuild do: keep one")
	}
	if rebuild {
		q.Verify, q.Repair = true, true
	}
	var err error
	if q.Rate, err = r.rate(); err != nil {
		return exitFailure, err
	}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	q.Path = r.path
	if rebuild && r.address != "" {
		return exitFailure, fmt.Errorf("the server at %s is running: %w", r.address, operate.ErrRebuildOpen)
	}
	return storeVerb[storage.CheckProgress, storage.CheckReport]{
		doing: "Checking %s", what: "the check", rebuild: rebuild,
		options:  storage.Options{Quiet: q.Repair, Inspect: !q.Repair},
		verb:     func(g operate.Gateway, tell func(operate.CheckLine)) error { return g.Check(r.ctx, q, tell) },
		line:     checkLine,
		show:     func(result storeResult[storage.CheckReport]) { printCheck(r.cmd.OutOrStdout(), result) },
		findings: func(report storage.CheckReport) bool { _, remaining := report.Found(); return remaining > 0 },
	}.run(r)
}
