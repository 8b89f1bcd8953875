package command

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) preloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preload [-f <list>] [--platform <platform>] [--referrers] [--parallel <n>] [<image...>]",
		Short: "Pulls images into the cache",
		Long: `
Pulls images into the cache, several at a time, so that machines find them there.
What is cached already is not pulled again, and what was interrupted goes on where
it ended: after Ctrl-C, a crash or an upstream that limits how much may be pulled,
run it again. An image that fails keeps no other from being pulled.

In the end it looks at all of them as the command verify does, since the limits of
the storage may have made the first ones go for the last ones.
` + imagesHelp + `

If a server has the storage open, and its admin API answers, it pulls, with the
credentials and other settings of its upstreams; who may pull from these makes no
difference here, but repositories that are not to be mirrored stay so. If sites have
different upstreams of one name, the image is pulled for each of them. Otherwise the
command opens the storage itself, and no server can have it meanwhile: the
upstreams are then those of the --config file, or without one those that the images
name, anonymously. It says which it is.

The exit code is 0 if all images are complete, 1 if something is missing, and 2 if
it could not be done.`,
		Example: `  pullgate mirror preload docker.io/library/alpine:3.20 --platform linux/amd64
  talosctl image default | pullgate mirror preload -f - --platform linux/amd64,linux/arm64
  pullgate mirror preload -f images.txt --referrers --address unix//run/pullgate/admin.sock
  pullgate mirror preload -f images.txt --storage /mnt/usb/cache`,
	}
	cmd.Flags().Int("parallel", image.DefaultImages, "How many images to pull at a time")
	return r.imageCommand(cmd, preparePreload)
}

func preparePreload(r *run, images operate.ImageRequest) (v imageVerb, err error) {
	q := operate.PreloadRequest{ImageRequest: images}
	if q.Parallel, err = operate.ParseParallel(strconv.Itoa(r.flags.Int("parallel"))); err != nil {
		return v, fmt.Errorf("--parallel: %w", err)
	}
	return imageVerb{
		doing: "Pulling into %s", online: ", by the server at %s.",
		options: func() (storage.Options, error) { return r.preloadOptions(images.Images) },
		verb: func(g operate.Gateway, tell func(operate.ImageLine)) error {
			q.Path = r.path
			return g.Preload(r.ctx, q, tell)
		},
		show: func(line operate.ImageLine) {
			switch {
			case line.Preloading != nil:
				showPreload(r.out, *line.Preloading)
			case line.Pulled != nil:
				sayPulled(r.out, *line.Pulled)
			}
		},
	}, nil
}

// preloadOptions returns what a storage is opened with for images to be pulled into it.
// Where nothing is configured, upstreams are as the images name them.
func (r *run) preloadOptions(images []imagelist.Image) (o storage.Options, err error) {
	sites := r.config
	if !r.configured {
		if sites, err = r.plain(images); err != nil {
			return o, err
		}
	}
	if r.sites, err = sites.Sites(); err != nil {
		return o, err
	}
	if err = r.sites.LookUp(images); err != nil {
		return o, err
	}
	return r.limited()
}

// limited returns the options to open a storage with the limits of the configuration.
func (r *run) limited() (o storage.Options, err error) {
	o.Limits, err = r.config.Limits()
	r.sites.Limit(&o.Limits)
	return o, err
}

// plain returns a configuration that has the upstreams of images.
func (r *run) plain(images []imagelist.Image) (Configuration, error) {
	site := handler{Handler: "registry_mirror"}
	for _, i := range images {
		if !slices.ContainsFunc(site.Upstreams, func(u upstream) bool { return u.Name == i.Upstream }) {
			site.Upstreams = append(site.Upstreams, upstream{Name: i.Upstream})
		}
	}
	raw, err := json.Marshal(site)
	if err != nil {
		return nil, err
	}
	return r.read(raw)
}
