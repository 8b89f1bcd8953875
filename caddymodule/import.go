package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/storage"
)

func importCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import <file>|<folder>|- [--as <image>] [--dry-run] [--no-move] [--allow-public]",
		Short: "Reads images from a bundle into the cache",
		Long: `
Reads all images of a bundle into the cache, from where they are served under the
names they have in it, as if they had been pulled: by a gateway that is offline, too.

It reads what mirror export has written, and OCI image layouts of other tools, as
folder or tar, and what docker save and podman save write; each may be compressed
with zstd or gzip. Those that tell only a tag, as skopeo and crane do, need --as: the
whole name of the image, or, for several tags of one repository, that without tag.

Which images it brings, and which tags it moves to them, is told before anything
changes. With --dry-run nothing does: the bundle is only verified. --no-move imports
nothing if a tag would move.

Everything is verified on the way in. Of a bundle that is damaged, or lacks something,
nothing can be pulled. What was imported counts as confirmed by the upstream at that
moment: a tag that the upstream has moved on is asked for again after tag_ttl.

Images of upstreams with credentials, or with access for some only, are marked in the
bundle. They are imported where everybody may pull only with --allow-public.

The server that has the storage open does it while it serves, if there is one and its
admin API answers; otherwise the command opens the storage itself, and says so. With
--config, images lie where the upstreams of that configuration look for them.

The exit code is 0 if all images are in the cache, 1 if --no-move has kept them from
it, and 2 if none is for another reason.`,
		Example: `  pullgate mirror import bundle.tar.zst
  pullgate mirror import bundle.tar.zst --dry-run
  pullgate mirror import bundle.tar --config /etc/pullgate/Caddyfile
  docker save alpine:3.20 | pullgate mirror import -
  skopeo copy docker://alpine:3.20 oci:layout:3.20
  pullgate mirror import layout --as docker.io/library/alpine:3.20`,
	}
	addTargetFlags(cmd)
	cmd.Flags().String("as", "", "The name of the image, such as docker.io/library/alpine:3.20")
	cmd.Flags().Bool("dry-run", false, "Verify the bundle and tell what it would bring, and change nothing")
	cmd.Flags().Bool("no-move", false, "Import nothing if a tag would move")
	cmd.Flags().Bool("allow-public", false, "Import images of upstreams that do not answer everybody also where everybody may pull")
	cmd.Flags().Bool("json", false, "Print the report as JSON")
	cmd = mirrorCommand(cmd, runImport)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return exit(cmd, exitFailure, errors.New("name one bundle: a file, a folder, or - for standard input"))
		}
		return nil
	}
	return cmd
}

func runImport(cmd *cobra.Command) (int, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	var as bundle.Name
	if text := flags.String("as"); text != "" {
		var err error
		if as, err = bundle.ParseName(text); err != nil {
			return exitFailure, fmt.Errorf("--as: %w", err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := newTarget(ctx, cmd)
	if err != nil {
		return exitFailure, err
	}
	name := flags.Arg(0)
	var r *bundle.Reader
	if name == "-" {
		r, err = bundle.OpenStream(cmd.InOrStdin())
	} else {
		r, err = bundle.Open(name)
	}
	if err != nil {
		return exitFailure, fmt.Errorf("%s: %w", name, err)
	}
	defer r.Close()
	if err := r.Index().Rename(as); err != nil {
		return exitFailure, fmt.Errorf("%s: %w", name, err)
	}
	meter := newMeter(cmd.ErrOrStderr())
	request := importRequest{dryRun: flags.Bool("dry-run"), noMove: flags.Bool("no-move"), allowPublic: flags.Bool("allow-public")}
	var result importResult
	if t.address != "" {
		meter.say("Importing into %s, by the server at %s.", t.name(), t.address)
		result, err = importOnline(ctx, t, r, request, meter)
	} else {
		meter.say("Importing into %s, as no server has it open (%v).", t.path, t.silence)
		result, err = importOffline(ctx, t, r, request, meter)
	}
	meter.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return exitFailure, errors.New("interrupted: the import is not complete; run it again")
	case err != nil:
		code := exitFailure
		if _, ok := errors.AsType[*carry.MoveError](err); ok {
			code = exitFindings
		}
		return code, fmt.Errorf("%s: %w", name, err)
	}
	for _, upstream := range result.Unserved {
		meter.say("Warning: no site mirrors %s: its images are not served until one does.", upstream)
	}
	if flags.Bool("json") {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(result); err != nil {
			return exitFailure, err
		}
		return 0, nil
	}
	printImport(cmd.OutOrStdout(), result)
	return 0, nil
}

// importOffline opens the storage, and imports into it.
func importOffline(ctx context.Context, t target, r *bundle.Reader, request importRequest, meter *meter) (result importResult, err error) {
	var configured imageSites
	if t.config != nil {
		if configured, err = sitesOf(t.config); err != nil {
			return result, err
		}
	}
	limits, err := t.storageLimits(configured)
	if err != nil {
		return result, err
	}
	result.Path = t.path
	o := storage.Options{Limits: limits, Inspect: request.dryRun}
	if _, err := os.Stat(t.path); request.dryRun && errors.Is(err, fs.ErrNotExist) {
		// There is nothing yet, and so it stays.
		if t.path, err = os.MkdirTemp("", "pullgate-import-"); err != nil {
			return result, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(t.path)) }()
		o.Inspect = false
	}
	store, err := t.open(ctx, o, storage.Open)
	if err != nil {
		return result, err
	}
	path := result.Path
	result, err = importAll(ctx, store, configured.identities(), r, request, importEvents{
		plan:     func(p []carry.ImportedImage) { printPlan(meter, p) },
		progress: func(p carry.ImportProgress) { meter.count(p.Bytes, p.Total) },
	})
	result.Path = path
	return result, errors.Join(err, store.Close())
}

// importOnline sends a bundle to the server.
func importOnline(ctx context.Context, t target, r *bundle.Reader, request importRequest, meter *meter) (result importResult, err error) {
	read, write := io.Pipe()
	sent := make(chan error, 1)
	go func() {
		err := bundle.Copy(bundle.NewWriter(write), r, meter.count)
		// Before the server sees the end, so that it is known why it came.
		sent <- err
		_ = write.CloseWithError(err)
	}()
	err = askLines(ctx, t.address, importPath+"?"+request.query(t.path).Encode(), read, func(line importLine) (bool, error) {
		if line.Plan != nil {
			printPlan(meter, line.Plan)
		}
		if line.Result == nil {
			return false, nil
		}
		result = *line.Result
		switch {
		case len(result.Moves) > 0:
			return true, &carry.MoveError{Images: result.Moves}
		case result.Error != "":
			return true, errors.New(strings.TrimPrefix(result.Error, "import: "))
		}
		return true, nil
	})
	_ = read.CloseWithError(errServerDone)
	// What is wrong with the bundle is known here best. That nobody reads it, with what
	// the transport says then, has its reason in the answer.
	if local := <-sent; local != nil && !errors.Is(local, errServerDone) && !errors.Is(local, io.ErrClosedPipe) && err != nil {
		err = local
	}
	result.Address = t.address
	return result, err
}

var errServerDone = errors.New("the server reads no more")
