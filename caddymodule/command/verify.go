package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
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
	}
	cmd.Flags().Bool("deep", false, "Read every blob and compare it with its digest")
	addRateFlag(cmd)
	return r.imageCommand(cmd, prepareVerify)
}

func prepareVerify(r *run, images operate.ImageRequest) (v imageVerb, err error) {
	q := operate.VerifyRequest{ImageRequest: images, Deep: r.flags.Bool("deep")}
	if q.Rate, err = r.rate(); err != nil {
		return v, err
	}
	return imageVerb{
		doing: "Verifying %s", online: ", as the server at %s has it.",
		options: func() (storage.Options, error) {
			return storage.Options{Existing: true, Quiet: true, Inspect: !q.Deep}, r.readSites()
		},
		verb: func(g operate.Gateway, tell func(operate.ImageLine)) error {
			q.Path = r.path
			return g.Verify(r.ctx, q, tell)
		},
		show: func(line operate.ImageLine) {
			if line.Verifying != nil {
				r.out.Show(verifyLine(*line.Verifying, r.out.Since()))
			}
		},
	}, nil
}

func verifyLine(p image.VerifyProgress, since time.Duration) string {
	line := fmt.Sprintf("%s of %s", terminal.Number(p.Images), terminal.Counted(p.Total, "image"))
	switch {
	case p.TotalBytes > 0:
		line += ", " + terminal.Amount(p.Bytes, p.TotalBytes, since)
	case p.Bytes > 0:
		line += ", " + terminal.Size(p.Bytes) + " read"
	}
	return line
}
