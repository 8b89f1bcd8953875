package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
)

// maxParallel is how many images are pulled at a time at most.
const maxParallel = 64

// imagesHelp says what lists commands on images take.
const imagesHelp = `
Images are named on the command line, and in lists (-f, - is the standard input):
one reference per line and # before comments, as these print them:

  talosctl image default        talosctl images default
  kubeadm config images list    the k3s-images.txt of a release of k3s

or Kubernetes objects and Talos machine configurations, in YAML or JSON, of which
the image fields count: kubectl get pods -A -o yaml, helm template, a folder's
files one after the other. A list with a line that is no reference is refused.

Without --platform, an image is everything that its index names, for every
platform, attestations included: a copy that no client finds anything missing
in. That is several times as much as one platform. Name those that your machines
are, such as --platform linux/amd64 --platform linux/arm64 for all that Talos
runs on; an image that has only one of them is complete with that.`

// addImageFlags adds the flags that newImageOperation reads.
func addImageFlags(cmd *cobra.Command) {
	addTargetFlags(cmd)
	cmd.Flags().StringArrayP("file", "f", nil, "A list of images, - for the standard input; can be given several times")
	cmd.Flags().StringSlice("platform", nil, "Only what this platform needs, such as linux/amd64 or linux/arm/v7; can be given several times")
	cmd.Flags().Bool("referrers", false, "Signatures, SBOMs and attestations, too: whatever refers to an image")
	cmd.Flags().Bool("json", false, "Print the reports as JSON")
}

// newImageOperation reads flags and lists.
func newImageOperation(cmd *cobra.Command) (o imageOperation, err error) {
	files, err := cmd.Flags().GetStringArray("file")
	if err != nil {
		return o, err
	}
	names, err := cmd.Flags().GetStringSlice("platform")
	if err != nil {
		return o, err
	}
	if o.choice.Platforms, err = parsePlatforms(names); err != nil {
		return o, fmt.Errorf("--platform: %w", err)
	}
	if o.choice.Referrers, err = cmd.Flags().GetBool("referrers"); err != nil {
		return o, err
	}
	if o.json, err = cmd.Flags().GetBool("json"); err != nil {
		return o, err
	}
	var errs []error
	for _, arg := range cmd.Flags().Args() {
		i, err := imagelist.Parse(arg)
		o.images, errs = append(o.images, i), append(errs, err)
	}
	for _, file := range files {
		images, err := readImageList(cmd.InOrStdin(), file)
		o.images, errs = append(o.images, images...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return o, err
	}
	known := map[imagelist.Image]bool{}
	o.images = slices.DeleteFunc(o.images, func(i imagelist.Image) bool {
		again := known[i]
		known[i] = true
		return again
	})
	if len(o.images) == 0 {
		if len(files) > 0 {
			return o, fmt.Errorf("%s names no image", strings.Join(files, ", "))
		}
		return o, errors.New("no image: name some, or a list of them with -f")
	}
	return o, nil
}

func readImageList(stdin io.Reader, name string) ([]imagelist.Image, error) {
	if name == "-" {
		return imagelist.Read("standard input", stdin)
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return imagelist.Read(name, file)
}

// imagesResult is what came of an operation on images, as it is printed in JSON.
type imagesResult struct {
	Path string `json:"path,omitempty"`
	// Address is that of the server that did it; empty = the command did.
	Address string         `json:"address,omitempty"`
	Images  []image.Report `json:"images"`
	Totals  image.Totals   `json:"totals"`
}

// imageCommand makes a command of an operation on images, and gives it flags of its
// own.
func imageCommand(cmd *cobra.Command, run func(context.Context, *cobra.Command, target, imageOperation) (imagesResult, error),
	flags func(*cobra.Command),
) *cobra.Command {
	addImageFlags(cmd)
	flags(cmd)
	cmd = mirrorCommand(cmd, func(cmd *cobra.Command) (int, error) {
		o, err := newImageOperation(cmd)
		if err != nil {
			return exitFailure, err
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		t, err := newTarget(ctx, cmd)
		if err != nil {
			return exitFailure, err
		}
		result, err := run(ctx, cmd, t, o)
		if ctx.Err() != nil {
			return exitFailure, errors.New("interrupted: run it again to go on")
		}
		if err != nil {
			return exitFailure, err
		}
		result.Path, result.Address = t.path, t.address
		if err := printImages(cmd, o, result); err != nil {
			return exitFailure, err
		}
		if result.Totals.Complete < result.Totals.Images {
			return exitFindings, nil
		}
		return 0, nil
	})
	cmd.Args = cobra.ArbitraryArgs
	return cmd
}

// online lets the server at a target do an operation. Each line that is no result
// goes to progress.
func (o *imageOperation) online(ctx context.Context, t target, uri string, progress func(imageLine)) (result imagesResult, err error) {
	err = askLines(ctx, t.address, uri, strings.NewReader(o.list()), func(line imageLine) (last bool, err error) {
		switch {
		case line.Error != "":
			return true, errors.New(line.Error)
		case line.Totals != nil:
			result.Totals = *line.Totals
			return true, nil
		case line.Report != nil:
			result.Images = append(result.Images, *line.Report)
		default:
			progress(line)
		}
		return false, nil
	})
	return result, err
}
