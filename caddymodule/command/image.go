package command

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

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

// imageVerb is a verb on images.
type imageVerb struct {
	// doing is what is said to be done, and online who does it if a server does.
	doing, online string
	// options are those to open a storage with that no server has open.
	options func() (storage.Options, error)
	verb    func(g operate.Gateway, tell func(operate.ImageLine)) error
	show    func(operate.ImageLine) // what is no result
}

// imageResult is what came of a verb on images, as it is printed in JSON.
type imageResult struct {
	Path string `json:"path,omitempty"`
	// Address is that of the server that did it; empty = the command did.
	Address string         `json:"address,omitempty"`
	Images  []image.Report `json:"images"`
	Totals  image.Totals   `json:"totals"`
}

// imageCommand makes a command of a verb on images, which prepare makes of its flags.
func (r reader) imageCommand(cmd *cobra.Command, prepare func(*run, operate.ImageRequest) (imageVerb, error)) *cobra.Command {
	addListFlags(cmd, "Only what this platform needs, such as linux/amd64 or linux/arm/v7; can be given several times")
	cmd.Flags().Bool("referrers", false, "Signatures, SBOMs and attestations, too: whatever refers to an image")
	cmd.Args, cmd.ValidArgsFunction = cobra.ArbitraryArgs, r.completeImages
	return r.gatewayCommand(cmd, func(r *run) (int, error) {
		q, err := r.imageRequest()
		if err != nil {
			return exitFailure, err
		}
		v, err := prepare(r, q)
		if err != nil {
			return exitFailure, err
		}
		if err := r.find(); err != nil {
			return exitFailure, err
		}
		result, err := v.run(r)
		r.out.End()
		switch {
		case r.ctx.Err() != nil:
			return exitFailure, errors.New("interrupted: run it again to go on")
		case err == nil && r.json:
			err = r.printJSON(result)
		case err == nil:
			printImages(r.cmd.OutOrStdout(), result, len(q.Platforms) > 0)
		}
		switch {
		case err != nil:
			return exitFailure, err
		case result.Totals.Complete < result.Totals.Images:
			return exitFindings, nil
		}
		return 0, nil
	})
}

func (v imageVerb) run(r *run) (result imageResult, err error) {
	result.Path, result.Address = r.path, r.address
	var o storage.Options
	if r.address == "" {
		if o, err = v.options(); err != nil {
			return result, err
		}
	}
	g, done, err := r.gateway(v.doing, v.online, o)
	if err != nil {
		return result, err
	}
	var failure error
	err = v.verb(g, func(line operate.ImageLine) {
		switch {
		case line.Error != "":
			failure = errors.New(line.Error)
		case line.Totals != nil:
			result.Totals = *line.Totals
		case line.Report != nil:
			result.Images = append(result.Images, *line.Report)
		default:
			v.show(line)
		}
	})
	return result, errors.Join(err, failure, done())
}

// imageRequest reads flags and lists.
func (r *run) imageRequest() (q operate.ImageRequest, err error) {
	names, err := r.cmd.Flags().GetStringSlice("platform")
	if err != nil {
		return q, err
	}
	if q.Platforms, err = operate.ParsePlatforms(names); err != nil {
		return q, fmt.Errorf("--platform: %w", err)
	}
	q.Referrers = r.flags.Bool("referrers")
	images, files, errs := r.images()
	if err := errors.Join(errs...); err != nil {
		return q, err
	}
	known := map[imagelist.Image]bool{}
	for _, i := range images {
		if !known[i] {
			known[i] = true
			q.Images = append(q.Images, i)
		}
	}
	switch {
	case len(q.Images) == 0 && len(files) > 0:
		return q, fmt.Errorf("%s names no image", strings.Join(files, ", "))
	case len(q.Images) == 0:
		return q, errors.New("no image: name some, or a list of them with -f")
	}
	return q, nil
}
