package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export -o <file>|<folder>/|- [-f <list>] [--platform <os/arch>]... [--since <bundle>]... [image...]",
		Short: "Writes cached images to a bundle, to carry to another gateway",
		Long: `
Writes cached images to a bundle: a file that ends in .tar or .tar.zst, a folder, or
with - a tar to standard output. Without images it is every tag that is cached. No
upstream is asked.

A bundle is an OCI image layout, with the whole names of the images as
org.opencontainers.image.ref.name: mirror import reads it, and so do skopeo, podman,
crane and containerd; the first two by name only what is of the types of OCI, not of
Docker. The same images make the same bytes.

Of an image for several platforms, those are taken that are cached as a whole, and
with --platform all of these have to be. An image that was named and is not cached is
a finding. mirror preload brings it in.

Images of upstreams with credentials, or with access for some only, are marked in the
bundle, which then only its owner may read. mirror import does not bring them where
everybody may pull, unless it is told to.

With --since, blobs are left out that an earlier bundle has for the same repository.
The gateway that imports it must have that one, too.

The file shows once it is complete. The exit code is 0 if all is in it, 1 if images
that were named are missing, and 2 if it could not be written.`,
		Example: `  pullgate mirror export -o bundle.tar
  pullgate mirror export -o bundle.tar.zst -f images.txt --platform linux/amd64
  pullgate mirror export -o monday.tar --since sunday.tar
  pullgate mirror export -o - docker.io/library/alpine:3.20 | ssh inside pullgate mirror import -`,
	}
	cmd.Flags().StringP("output", "o", "", "Where the bundle goes (required)")
	addListFlags(cmd, "A platform that has to be in it, such as linux/amd64; can be given several times (default: those that are cached)")
	cmd.Flags().StringArray("since", nil, "An earlier bundle, whose blobs are left out; can be given several times")
	cmd.Args, cmd.ValidArgsFunction = cobra.ArbitraryArgs, r.completeImages
	return r.gatewayCommand(cmd, runExport)
}

// exportResult is what is printed as JSON.
type exportResult struct {
	Path    string              `json:"path,omitempty"`
	Address string              `json:"address,omitempty"`
	Output  string              `json:"output"`
	Report  *carry.ExportReport `json:"report"`
}

func runExport(r *run) (int, error) {
	output, stdout := r.flags.String("output"), r.cmd.OutOrStdout()
	switch {
	case output == "":
		return exitFailure, errors.New("--output: say where the bundle goes: a .tar or .tar.zst, a folder with a slash at its end, or -")
	case output != "-":
		if err := bundle.CheckOutput(output); err != nil {
			return exitFailure, fmt.Errorf("--output %s: %w", output, err)
		}
	case r.json:
		return exitFailure, errors.New("--json and the bundle cannot both go to standard output: name a file for the bundle")
	case terminal.IsTerminal(stdout):
		return exitFailure, errors.New("the bundle does not go to a terminal: name a file, or pipe it")
	}
	q, err := r.exportRequest()
	if err != nil {
		return exitFailure, err
	}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	q.Path = r.path
	report, err := r.export(q, output)
	r.out.End()
	switch {
	case err != nil && r.ctx.Err() != nil:
		return exitFailure, errors.New("interrupted: there is no bundle")
	case err != nil:
		return exitFailure, err
	}
	switch {
	case r.json:
		err = r.printJSON(exportResult{Path: r.path, Address: r.address, Output: output, Report: report})
	case output == "-":
		printExport(r.cmd.ErrOrStderr(), "standard output", *report)
	default:
		printExport(stdout, output, *report)
	}
	switch named := len(q.Images) > 0; {
	case err != nil:
		return exitFailure, err
	case len(report.Images) == 0 && !named:
		return exitFailure, operate.ErrNoImages
	case len(report.Missing) > 0 && named:
		return exitFindings, nil
	}
	return 0, nil
}

// exportRequest reads what is asked for.
func (r *run) exportRequest() (q operate.ExportRequest, err error) {
	if q.Platforms, err = r.cmd.Flags().GetStringSlice("platform"); err != nil {
		return q, err
	}
	if _, err := operate.ParsePlatforms(q.Platforms); err != nil {
		return q, fmt.Errorf("--platform: %w", err)
	}
	images, files, errs := r.images()
	if err := errors.Join(errs...); err != nil {
		return q, err
	}
	for _, i := range images {
		q.Images = append(q.Images, i.String())
	}
	if len(files) > 0 && len(q.Images) == 0 {
		return q, fmt.Errorf("%s names no image", strings.Join(files, ", "))
	}
	earlier, err := r.cmd.Flags().GetStringArray("since")
	if err != nil {
		return q, err
	}
	has := make(map[string]map[digest.Digest]bool)
	for _, name := range earlier {
		index, blobs, err := bundle.Blobs(name)
		if err != nil {
			return q, fmt.Errorf("--since %s: %w", name, err)
		}
		if index != "" {
			q.Since = append(q.Since, index)
		}
		for place, ds := range blobs {
			if has[place] == nil {
				has[place] = make(map[digest.Digest]bool)
			}
			maps.Copy(has[place], ds)
		}
	}
	q.Has = make(map[string][]digest.Digest, len(has))
	for place, ds := range has {
		q.Has[place] = slices.Sorted(maps.Keys(ds))
	}
	return q, nil
}

// export writes a bundle, and returns what is in it.
func (r *run) export(q operate.ExportRequest, output string) (*carry.ExportReport, error) {
	if r.address == "" {
		if err := r.readSites(); err != nil {
			return nil, err
		}
	}
	g, done, err := r.gateway("Exporting from %s", ", by the server at %s.", storage.Options{Existing: true, Inspect: true})
	if err != nil {
		return nil, err
	}
	b, err := g.Export(r.ctx, q)
	if err != nil {
		return nil, errors.Join(err, done())
	}
	r.out.Begin()
	if len(b.Report.Images) > 0 {
		err = r.write(b, output)
	}
	return &b.Report, errors.Join(err, b.Close(), done())
}

// write writes a bundle to where it belongs, all or nothing.
func (r *run) write(b *operate.Bundle, output string) error {
	progress := func(written int64) { r.out.Show(terminal.Amount(written, b.Report.Bytes, r.out.Since())) }
	if output == "-" {
		return b.Write(bundle.NewWriter(r.cmd.OutOrStdout()), progress)
	}
	o, err := bundle.Create(output, b.Report.Isolated())
	if err != nil {
		return err
	}
	if err := b.Write(o.Writer, progress); err != nil {
		return errors.Join(err, o.Discard())
	}
	return o.Commit()
}
