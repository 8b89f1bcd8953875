package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

func verifyCommand() *cobra.Command {
	return imageCommand(&cobra.Command{
		Use:   "verify [-f <list>] [--platform <platform>] [--referrers] [--deep [--rate <size>]] [<image...>]",
		Short: "Tells whether images are cached completely",
		Long: `
Looks, for each image and platform, whether index, manifests, config and every
blob are cached, so that they can be pulled when the upstream is gone. No upstream
is asked, and what a tag means is what it meant when it was last pulled.

Cached is what the gateway serves by itself: the bytes are there, and the upstream
has confirmed that they belong to this very repository. With --deep, every blob is
read and compared with its digest, too; one that does not match goes to
quarantine/, and is pulled again when next asked for. --rate leaves the disk to others.
` + imagesHelp + `

The server that has the storage open does this while it serves, if there is one
and its admin API answers; otherwise the command opens the storage itself, and no
server can have it meanwhile. It says which it is.

The exit code is 0 if all images are complete, 1 if something is missing, and 2 if
it could not be found out.`,
		Example: `  pullgate mirror verify docker.io/library/alpine:3.20 ghcr.io/siderolabs/kubelet:v1.35.0
  talosctl image default | pullgate mirror verify -f - --platform linux/amd64
  kubectl get pods -A -o yaml | pullgate mirror verify -f - --deep
  pullgate mirror verify -f images.txt --storage /var/lib/pullgate --json`,
	}, runVerify, func(cmd *cobra.Command) {
		cmd.Flags().Bool("deep", false, "Read every blob and compare it with its digest")
		cmd.Flags().String("rate", "", "How much to read per second at most, such as 100MiB (default: no limit)")
	})
}

func runVerify(ctx context.Context, cmd *cobra.Command, t target, o imageOperation) (result imagesResult, err error) {
	if o.deep, err = cmd.Flags().GetBool("deep"); err != nil {
		return result, err
	}
	rate, err := cmd.Flags().GetString("rate")
	if err == nil && rate != "" {
		o.rate, err = parseSize(rate)
	}
	if err != nil {
		return result, fmt.Errorf("--rate: %w", err)
	}
	out := newProgressOutput(cmd.ErrOrStderr())
	defer out.end()
	if t.address != "" {
		out.say("Verifying %s, as the server at %s has it.", t.name(), t.address)
		query := o.query(t.path)
		if o.deep {
			query.Set("deep", "1")
		}
		if o.rate > 0 {
			query.Set("rate", strconv.FormatInt(o.rate, 10))
		}
		return o.online(ctx, t, verifyPath+"?"+query.Encode(), func(line imageLine) {
			if line.Verifying != nil {
				out.tell(verifyingLine(*line.Verifying, out.since()))
			}
		})
	}
	out.say("Verifying %s, as no server has it open (%v).", t.path, t.silence)
	store, err := t.open(ctx, storage.Options{Existing: true, Quiet: true, Inspect: !o.deep}, storage.Open)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	wants, err := storedWants(ctx, store, t.config, o.images)
	if err != nil {
		return result, err
	}
	result.Images, result.Totals, err = image.Verify(ctx, store, wants, image.VerifyOptions{
		Choice: o.choice, Deep: o.deep, Rate: o.rate,
		Progress: func(p image.VerifyProgress) { out.tell(verifyingLine(p, out.since())) },
	})
	return result, err
}

// storedWants returns where a store may have images. Without a running server it is
// not certain which identity of an upstream counts: one that is complete does.
func storedWants(ctx context.Context, store *storage.Store, config []byte, images []imagelist.Image) ([]image.Want, error) {
	var configured imageSites
	if config != nil {
		var err error
		if configured, err = sitesOf(config); err != nil {
			return nil, err
		}
	}
	catalog, err := store.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	defer catalog.Close()
	stored := map[oci.Scope][]oci.Scope{} // by the name of the upstream
	for scope, err := range catalog.Scopes(ctx, "") {
		if err != nil {
			return nil, err
		}
		by := oci.Scope{Upstream: oci.UpstreamName(scope.Upstream), Repository: scope.Repository}
		stored[by] = append(stored[by], scope)
	}
	wants := make([]image.Want, len(images))
	for n, i := range images {
		by := oci.Scope{Upstream: i.Upstream, Repository: i.Repository}
		if at := configured.lookUp(i); len(at) > 0 {
			by = at[0].scope
		}
		wants[n] = image.Want{Image: i, Scopes: stored[by]}
		if len(stored[by]) == 0 {
			wants[n].Scopes = []oci.Scope{by}
		}
	}
	return wants, nil
}
