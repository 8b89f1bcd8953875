package command

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
)

// memory has the verbs about what a running server remembers of pulls.
type memory struct{ reader }

func (m memory) whyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why [--last <n>] [--address <admin>] <image>",
		Short: "Shows the last pulls of an image: how long they took, and why",
		Long: `
Shows the last pulls of an image that the server has seen since it began: who pulled
it, from where its bytes came, what the upstream was asked for, where the time went, and
one sentence on what made it slow. A part of the name, or a digest, is enough.

A pull is what one client asks for from a manifest on, until it has all layers or
asks for nothing any more. Who asks for manifests only pulls nothing. The
time is split into these, which add up to how long it took:

	look-up     until it was known what the tag and the manifests are
	token       what of the waiting for the upstream its token server took
	queue       blobs waited for other downloads, or for the storage
	first byte  the upstream was asked for blobs, and had not begun to send
	transfer    bytes came from the upstream, and went on
	client      only the client was waited for: it got what is stored, or did
	            something else

Where several requests run, a moment counts for the last of these that one is in.

The exit code is 0, 1 if no such pull was seen, and 2 if it could not be found out.`,
		Example: `  pullgate mirror why nginx:1.27
  pullgate mirror why docker.io/library/nginx --last 1 --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeImages,
	}
	cmd.Flags().Int("last", 5, "How many pulls to show at most")
	return m.gatewayCommand(cmd, runWhy)
}

func runWhy(r *run) (int, error) {
	last := r.flags.Int("last")
	if last < 1 {
		return exitFailure, fmt.Errorf("--last: %d is too few, want 1 or more", last)
	}
	g, err := r.server()
	if err != nil {
		return exitFailure, err
	}
	image := wholeName(r.args[0])
	seen, err := g.Pulls(r.ctx, operate.PullsRequest{Image: image})
	if err != nil {
		return exitFailure, err
	}
	pulls := append(seen.Running, seen.Recent...)
	if len(pulls) == 0 {
		return exitFindings, errUnseen(r, g, image)
	}
	pulls = pulls[:min(last, len(pulls))]
	if r.json {
		return 0, r.printJSON(map[string]any{"pulls": pulls})
	}
	for i, p := range pulls {
		if i > 0 {
			fmt.Fprintln(r.cmd.OutOrStdout())
		}
		printPull(r.cmd.OutOrStdout(), p)
	}
	return 0, nil
}

// server finds the server, whose memory a verb is about.
func (r *run) server() (*operate.Client, error) {
	if err := r.find(); err != nil {
		return nil, err
	}
	if r.address == "" {
		return nil, fmt.Errorf("there is no server to ask: %w", r.silence)
	}
	return admin.Client(r.address), nil
}

// wholeName returns what of the name of an image is in the names of pulls.
func wholeName(image string) string {
	sel, err := oci.ParseSelection(image)
	switch {
	case err != nil || !strings.ContainsAny(sel.Upstream, ".:") || sel.Repository == "":
		return image
	case sel.Reference.IsDigest():
		return sel.Reference.Digest.String()
	}
	return sel.String()
}

// errUnseen says that no pull of an image was seen, and which was perhaps meant.
func errUnseen(r *run, g operate.Gateway, image string) error {
	var names []string
	if all, err := g.Pulls(r.ctx, operate.PullsRequest{}); err == nil {
		for _, i := range all.Images {
			names = append(names, i.Image)
		}
	}
	return fmt.Errorf("no pull of %s was seen since the server began%s: a client that has it already does not ask, nor does one that uses another mirror",
		terminal.Printable(image), nearest.Hint(image, names))
}

// printPull prints a pull.
func printPull(w io.Writer, p operate.Pull) {
	head := terminal.Printable(p.Image)
	if p.Platform != "" {
		head += " for " + p.Platform
	}
	by := p.Client
	if p.User != "" {
		by = p.User + " at " + by
	}
	fmt.Fprintf(w, "%s, by %s at %s\n", head, terminal.Printable(by), p.Began.Local().Format(time.DateTime))
	table := terminal.NewTable(w)
	row := func(name, format string, args ...any) { table.Row("  "+name, fmt.Sprintf(format, args...)) }
	result := p.Result
	if p.Phase != "" {
		result += " (" + strings.ReplaceAll(p.Phase, "_", " ") + ")"
	}
	row("result", "%s after %s", result, inSeconds(p.Took().Seconds()))
	row("sent", "%s", sentText(p))
	row("received", "%s from %s", terminal.Size(p.UpstreamBytes), p.Upstream)
	s := p.Seconds
	row("time", "look-up %s, token %s, queue %s, first byte %s, transfer %s, client %s", inSeconds(s.LookUp), inSeconds(s.Token),
		inSeconds(s.Queue), inSeconds(s.FirstByte), inSeconds(s.Transfer), inSeconds(s.Client))
	row("asked", "%s", askedText(p))
	row("why", "%s", terminal.Printable(p.Why()))
	table.Flush()
}

// sentText tells what was sent, and from where it was.
func sentText(p operate.Pull) string {
	text := terminal.Size(p.Bytes)
	if p.TotalBytes > 0 {
		text += " (the image has " + terminal.Size(p.TotalBytes) + ")"
	}
	if p.Cache != "" {
		text += ", " + p.Cache
	}
	return fmt.Sprintf("%s: %s stored before, %s prefetched", text, terminal.Size(p.CacheBytes), terminal.Size(p.PrefetchedBytes))
}

// askedText tells what the upstream was asked for.
func askedText(p operate.Pull) string {
	if len(p.Asked) == 0 {
		return "nothing of the upstream"
	}
	parts := make([]string, 0, len(p.Asked))
	for _, q := range p.Asked {
		part := fmt.Sprintf("%d %s in %s", q.Requests, strings.ReplaceAll(q.Op, "_", " "), inSeconds(q.Seconds))
		if q.Failed > 0 {
			part += fmt.Sprintf(" (%d failed: %s)", q.Failed, q.Class)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func inSeconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}
