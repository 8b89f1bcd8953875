package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) importCommand() *cobra.Command {
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
	cmd.Flags().String("as", "", "The name of the image, such as docker.io/library/alpine:3.20")
	addDryRunFlag(cmd, "Verify the bundle and tell what it would bring, and change nothing")
	cmd.Flags().Bool("no-move", false, "Import nothing if a tag would move")
	cmd.Flags().Bool("allow-public", false, "Import images of upstreams that do not answer everybody also where everybody may pull")
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return errors.New("name one bundle: a file, a folder, or - for standard input")
		}
		return nil
	}
	return r.gatewayCommand(cmd, runImport)
}

func runImport(r *run) (int, error) {
	var as bundle.Name
	if text := r.flags.String("as"); text != "" {
		var err error
		if as, err = bundle.ParseName(text); err != nil {
			return exitFailure, fmt.Errorf("--as: %w", err)
		}
	}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	name := r.args[0]
	b, err := openBundle(r.cmd.InOrStdin(), name, as)
	if err != nil {
		return exitFailure, fmt.Errorf("%s: %w", name, err)
	}
	defer b.Close()
	q := operate.ImportRequest{DryRun: r.flags.Bool("dry-run"), NoMove: r.flags.Bool("no-move"), AllowPublic: r.flags.Bool("allow-public")}
	result, err := r.importBundle(q, b)
	r.out.End()
	switch {
	case (err != nil || result.Error != "") && r.ctx.Err() != nil:
		return exitFailure, errors.New("interrupted: the import is not complete; run it again")
	case err != nil:
		return exitFailure, fmt.Errorf("%s: %w", name, err)
	case len(result.Moves) > 0:
		return exitFindings, fmt.Errorf("%s: %w", name, &carry.MoveError{Images: result.Moves})
	case result.Error != "":
		return exitFailure, fmt.Errorf("%s: %s", name, strings.TrimPrefix(result.Error, "import: "))
	}
	for _, upstream := range result.Unserved {
		r.out.Say("Warning: no site mirrors %s: its images are not served until one does.", upstream)
	}
	if r.json {
		if err := r.printJSON(result); err != nil {
			return exitFailure, err
		}
		return 0, nil
	}
	printImport(r.cmd.OutOrStdout(), result)
	return 0, nil
}

func openBundle(stdin io.Reader, name string, as bundle.Name) (b *bundle.Reader, err error) {
	if name == "-" {
		b, err = bundle.OpenStream(stdin)
	} else {
		b, err = bundle.Open(name)
	}
	if err != nil {
		return nil, err
	}
	if err := b.Index().Rename(as); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// importBundle imports a bundle, and tells how it goes.
func (r *run) importBundle(q operate.ImportRequest, b *bundle.Reader) (result operate.ImportResult, err error) {
	q.Path = r.path
	var o storage.Options
	if r.address == "" {
		if err := r.readSites(); err != nil {
			return result, err
		}
		if o, err = r.limited(); err != nil {
			return result, err
		}
		o.Inspect = q.DryRun
		if _, err := os.Stat(r.path); q.DryRun && errors.Is(err, fs.ErrNotExist) {
			// There is nothing yet, and so it stays.
			folder, err := os.MkdirTemp("", "pullgate-import-")
			if err != nil {
				return result, err
			}
			defer os.RemoveAll(folder)
			o.Path, o.Inspect = folder, false
		}
	}
	g, done, err := r.gateway("Importing into %s", ", by the server at %s.", o)
	if err != nil {
		return result, err
	}
	err = g.Import(r.ctx, q, func() (*bundle.Reader, error) { return b, nil }, func(line operate.ImportLine) {
		switch {
		case line.Plan != nil:
			r.out.Begin()
			printPlan(r.out, line.Plan)
		case line.Progress != nil:
			r.out.Show(terminal.Amount(line.Progress.Bytes, line.Progress.Total, r.out.Since()))
		case line.Result != nil:
			result = *line.Result
		}
	})
	result.Address = r.address
	return result, errors.Join(err, done())
}
