package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/upstream"
	"github.com/pullgate/pullgate/storage"
)

func preloadCommand() *cobra.Command {
	return imageCommand(&cobra.Command{
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
	}, runPreload, func(cmd *cobra.Command) {
		cmd.Flags().Int("parallel", image.DefaultImages, "How many images to pull at a time")
	})
}

func runPreload(ctx context.Context, cmd *cobra.Command, t target, o imageOperation) (result imagesResult, err error) {
	parallel, err := cmd.Flags().GetInt("parallel")
	if err == nil {
		err = o.readParallel(strconv.Itoa(parallel))
	}
	if err != nil {
		return result, fmt.Errorf("--parallel: %w", err)
	}
	out := newPreloadOutput(cmd.ErrOrStderr())
	defer out.end()
	if t.address != "" {
		out.say("Pulling into %s, by the server at %s.", t.name(), t.address)
		query := o.query(t.path)
		query.Set("parallel", strconv.Itoa(o.parallel))
		return o.online(ctx, t, preloadPath+"?"+query.Encode(), func(line imageLine) {
			switch {
			case line.Preloading != nil:
				out.progress(*line.Preloading)
			case line.Pulled != nil:
				out.pulled(*line.Pulled)
			}
		})
	}
	sites, err := o.sites(t)
	if err != nil {
		return result, err
	}
	limits, err := t.storageLimits(sites)
	if err != nil {
		return result, err
	}
	out.say("Pulling into %s, as no server has it open (%v).", t.path, t.silence)
	store, err := t.open(ctx, storage.Options{Limits: limits}, storage.Open)
	if err != nil {
		return result, err
	}
	c := mirror.NewCache(mirror.CacheOptions{Records: store, Blobs: mirror.BlobsOf(store)})
	closeClients := func() {}
	defer func() {
		c.Close()
		closeClients()
		err = errors.Join(err, store.Close())
	}()
	if closeClients, err = sites.open(c); err != nil {
		return result, err
	}
	result.Images, result.Totals, err = image.Preload(ctx, store, sites.preloadWants(o.images), image.PreloadOptions{
		Choice: o.choice, Images: o.parallel, Progress: out.progress, Pulled: out.pulled,
	})
	return result, err
}

// sites returns those that images are pulled through where no server runs, with
// those upstreams provisioned that are needed.
func (o *imageOperation) sites(t target) (l imageSites, err error) {
	if t.config != nil {
		l, err = sitesOf(t.config)
	} else {
		l, err = plainSites(o.images)
	}
	if err != nil {
		return nil, err
	}
	for _, i := range o.images {
		for _, p := range l.lookUp(i) {
			if p.upstream.resolved == nil {
				if err := p.upstream.provision(); err != nil {
					return nil, err
				}
			}
		}
	}
	return l, nil
}

// storageLimits returns those of the configuration.
func (t target) storageLimits(l imageSites) (storage.Limits, error) {
	limits, err := cmp.Or(t.limits, new(Storage)).limits()
	if err != nil {
		return limits, err
	}
	for _, s := range l {
		for _, u := range s.upstreams {
			if u.MaxSize > 0 {
				if limits.Upstreams == nil {
					limits.Upstreams = map[string]int64{}
				}
				limits.Upstreams[u.Name] = u.MaxSize
			}
		}
	}
	return limits, nil
}

// open makes what the provisioned upstreams of sites that do not run are asked by.
// What it returns ends that, also after an error.
func (l imageSites) open(c *mirror.Cache) (closeClients func(), err error) {
	clients := map[string]*upstream.Client{} // by fingerprint
	closeClients = func() {
		for client := range maps.Values(clients) {
			client.Close()
		}
	}
	for _, s := range l {
		var o mirror.Options
		for _, u := range s.upstreams {
			if u.resolved == nil {
				continue
			}
			key := u.fingerprint()
			if clients[key] == nil {
				options := u.options()
				options.Logger = slog.New(slog.DiscardHandler) // the report tells
				client, err := upstream.New(options)
				if err != nil {
					return closeClients, fmt.Errorf("upstream %s: %w", u.Name, err)
				}
				clients[key] = client
			}
			policy := u.policy(clients[key])
			policy.Access = mirror.Access{Public: true}
			o.Upstreams = append(o.Upstreams, policy)
		}
		if s.mirror, err = mirror.New(c, o); err != nil {
			return closeClients, err
		}
	}
	return closeClients, nil
}
