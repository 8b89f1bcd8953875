package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/carry"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/storage"
)

func exportCommand() *cobra.Command {
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
	addTargetFlags(cmd)
	cmd.Flags().StringP("output", "o", "", "Where the bundle goes (required)")
	cmd.Flags().StringArrayP("file", "f", nil, "A list of images, - for the standard input; can be given several times")
	cmd.Flags().StringSlice("platform", nil, "A platform that has to be in it, such as linux/amd64; can be given several times (default: those that are cached)")
	cmd.Flags().StringArray("since", nil, "An earlier bundle, whose blobs are left out; can be given several times")
	cmd.Flags().Bool("json", false, "Print the report as JSON")
	cmd = mirrorCommand(cmd, runExport)
	cmd.Args = cobra.ArbitraryArgs
	return cmd
}

// exporting is one run of the command.
type exporting struct {
	request exportRequest
	output  string
	stdout  io.Writer
	meter   *meter
}

// exportResult is what is printed as JSON.
type exportResult struct {
	Path    string              `json:"path,omitempty"`
	Address string              `json:"address,omitempty"`
	Output  string              `json:"output"`
	Report  *carry.ExportReport `json:"report"`
}

func runExport(cmd *cobra.Command) (int, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	e := exporting{
		output: flags.String("output"), stdout: cmd.OutOrStdout(), meter: newMeter(cmd.ErrOrStderr()),
	}
	asJSON := flags.Bool("json")
	switch {
	case e.output == "":
		return exitFailure, errors.New("--output: say where the bundle goes: a .tar or .tar.zst, a folder with a slash at its end, or -")
	case e.output != "-":
		if err := bundle.CheckOutput(e.output); err != nil {
			return exitFailure, fmt.Errorf("--output %s: %w", e.output, err)
		}
	case asJSON:
		return exitFailure, errors.New("--json and the bundle cannot both go to standard output: name a file for the bundle")
	case isTerminal(e.stdout):
		return exitFailure, errors.New("the bundle does not go to a terminal: name a file, or pipe it")
	}
	if err := e.read(cmd); err != nil {
		return exitFailure, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	t, err := newTarget(ctx, cmd)
	if err != nil {
		return exitFailure, err
	}
	result := exportResult{Path: t.path, Address: t.address, Output: e.output}
	if t.address != "" {
		result.Report, err = e.online(ctx, t)
	} else {
		result.Report, err = e.offline(ctx, t)
	}
	e.meter.end()
	switch {
	case err != nil && ctx.Err() != nil:
		return exitFailure, errors.New("interrupted: there is no bundle")
	case err != nil:
		return exitFailure, err
	}
	if asJSON {
		encoder := json.NewEncoder(e.stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else if e.output == "-" {
		printExport(cmd.ErrOrStderr(), "standard output", *result.Report)
	} else {
		printExport(e.stdout, e.output, *result.Report)
	}
	switch named := len(e.request.Images) > 0; {
	case err != nil:
		return exitFailure, err
	case len(result.Report.Images) == 0 && !named:
		return exitFailure, errNothing
	case len(result.Report.Missing) > 0 && named:
		return exitFindings, nil
	}
	return 0, nil
}

// read reads what is asked for.
func (e *exporting) read(cmd *cobra.Command) error {
	flags := cmd.Flags()
	var err error
	if e.request.Platforms, err = flags.GetStringSlice("platform"); err != nil {
		return err
	}
	if _, err := parsePlatforms(e.request.Platforms); err != nil {
		return fmt.Errorf("--platform: %w", err)
	}
	for _, text := range flags.Args() {
		i, err := imagelist.Parse(text)
		if err != nil {
			return err
		}
		e.request.Images = append(e.request.Images, i.String())
	}
	files, err := flags.GetStringArray("file")
	if err != nil {
		return err
	}
	for _, name := range files {
		images, err := readImageList(cmd.InOrStdin(), name)
		if err != nil {
			return err
		}
		for _, i := range images {
			e.request.Images = append(e.request.Images, i.String())
		}
	}
	if len(files) > 0 && len(e.request.Images) == 0 {
		return fmt.Errorf("%s names no image", strings.Join(files, ", "))
	}
	earlier, err := flags.GetStringArray("since")
	if err != nil {
		return err
	}
	has := make(map[string]map[digest.Digest]bool)
	for _, name := range earlier {
		index, blobs, err := bundle.Blobs(name)
		if err != nil {
			return fmt.Errorf("--since %s: %w", name, err)
		}
		if index != "" {
			e.request.Since = append(e.request.Since, index)
		}
		for place, ds := range blobs {
			if has[place] == nil {
				has[place] = make(map[digest.Digest]bool)
			}
			maps.Copy(has[place], ds)
		}
	}
	e.request.Has = make(map[string][]digest.Digest, len(has))
	for place, ds := range has {
		e.request.Has[place] = slices.Sorted(maps.Keys(ds))
	}
	return nil
}

// offline opens the storage, and exports from it.
func (e *exporting) offline(ctx context.Context, t target) (*carry.ExportReport, error) {
	e.meter.say("Exporting from %s, as no server has it open (%v).", t.path, t.silence)
	var configured imageSites
	if t.config != nil {
		var err error
		if configured, err = sitesOf(t.config); err != nil {
			return nil, err
		}
	}
	store, err := t.open(ctx, storage.Options{Existing: true, Inspect: true}, storage.Open)
	if err != nil {
		return nil, err
	}
	export, err := newExport(ctx, store, configured.identities(), e.request)
	if err == nil && len(export.Report.Images) > 0 {
		err = e.write(&export.Report, func(w *bundle.Writer) error {
			return export.Write(ctx, w, func(written int64) { e.meter.count(written, export.Report.Bytes) })
		})
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	return &export.Report, nil
}

// online lets the server export, and verifies what it sends.
func (e *exporting) online(ctx context.Context, t target) (*carry.ExportReport, error) {
	e.meter.say("Exporting from %s, by the server at %s.", t.name(), t.address)
	body, err := json.Marshal(e.request)
	if err != nil {
		return nil, err
	}
	query := url.Values{"report": {"1"}}
	if t.path != "" {
		query.Set("path", t.path)
	}
	response, err := askAdmin(ctx, t.address, http.MethodPost, exportPath+"?"+query.Encode(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("admin API at %s: %w", t.address, err)
	}
	defer response.Body.Close()
	content := bufio.NewReaderSize(response.Body, 1<<20)
	line, err := content.ReadBytes('\n')
	report := new(carry.ExportReport)
	if err == nil {
		err = json.Unmarshal(line, report)
	}
	if err == nil && len(report.Images) > 0 {
		err = e.write(report, func(w *bundle.Writer) error {
			r, err := bundle.NewStream(content)
			if err != nil {
				return err
			}
			defer r.Close()
			return bundle.Copy(w, r, func(written, _ int64) { e.meter.count(written, report.Bytes) })
		})
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("the server at %s gave up, and its log says why: %w", t.address, err)
	}
	return report, err
}

// write writes a bundle to where it belongs, all or nothing.
func (e *exporting) write(report *carry.ExportReport, content func(*bundle.Writer) error) error {
	if e.output == "-" {
		return content(bundle.NewWriter(e.stdout))
	}
	o, err := bundle.Create(e.output, report.Isolated())
	if err != nil {
		return err
	}
	if err := content(o.Writer); err != nil {
		return errors.Join(err, o.Discard())
	}
	return o.Commit()
}
