package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
	"github.com/pullgate/pullgate/storage"
)

func (r reader) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [--storage <dir>] [--address <admin>] [<upstream>]",
		Short: "Tries whether the gateway has what pulls need",
		Long: `
Tries whether the gateway has what pulls need, and says of what is missing what helps.
Begin with it when something is wrong. The server does it, so that it is asked from
where pulls come from:

  server    it runs, in which version, and where it serves
  storage   there is room, and it can be written
  upstream  each URL answers, and accepts the credentials
  clock     it is as that of the upstreams
  site      its certificate is good for its names and long enough, and a pull works, as
            containerd would do it: of an image that is cached, which no upstream is
            asked for

With an upstream, only that is tried. Nothing is changed, and no image is pulled from
an upstream. What cannot be found out, such as a pull where the site asks for a user, is
told and no fault. Blobs are checked by "mirror fsck".

The exit code is 0 if all is well, 1 if something is not, and 2 if it could not be found
out.`,
		Example: `  pullgate mirror check
  pullgate mirror check docker.io
  pullgate mirror check --config /etc/pullgate/Caddyfile --json`,
		Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return r.ask(cmd, func(ctx context.Context, c *operate.Client, _ string) []string { return upstreamsOf(ctx, c, begun) }), cobra.ShellCompDirectiveNoFileComp
		},
	}
	return r.gatewayCommand(cmd, runCheck)
}

// upstreamsOf returns the upstreams of a server whose names begin so.
func upstreamsOf(ctx context.Context, c *operate.Client, begun string) (names []string) {
	status, _ := c.Status(ctx, "")
	for _, u := range status.Upstreams {
		if strings.HasPrefix(u.Name, begun) && !slices.Contains(names, u.Name) {
			names = append(names, u.Name)
		}
	}
	return names
}

func runCheck(r *run) (int, error) {
	q := operate.ProbeRequest{Upstream: strings.Join(r.args, "")}
	if err := r.find(); err != nil {
		return exitFailure, err
	}
	out := probeOutput{to: r.cmd.OutOrStdout(), json: r.json}
	if r.address == "" {
		out.tell(operate.ProbeLine{
			What: operate.ProbeServer, State: operate.StateFailing, Text: "none was found, as " + r.silence.Error(),
			Help: "start it, or name its admin API with --address, or its configuration with --config",
		})
	}
	g, done, err := r.gateway("Checking %s", ", by the server at %s.", storage.Options{Existing: true, Inspect: true})
	if err != nil {
		out.tell(operate.ProbeLine{What: operate.ProbeStorage, Name: r.path, State: operate.StateFailing, Text: err.Error()})
		return exitFindings, out.err
	}
	if err := errors.Join(g.Probe(r.ctx, q, out.tell), done(), out.err); err != nil {
		return exitFailure, err
	}
	if out.wrong {
		return exitFindings, nil
	}
	return 0, nil
}

// probeOutput is what check prints: each finding as it comes.
type probeOutput struct {
	to   io.Writer
	json bool

	wrong bool  // something is
	err   error // that it could not be printed
}

func (o *probeOutput) tell(l operate.ProbeLine) {
	o.wrong = o.wrong || !l.OK
	var text string
	if o.json {
		raw, err := json.Marshal(l)
		text, o.err = string(raw)+"\n", errors.Join(o.err, err)
	} else {
		text = probeText(l)
	}
	_, err := io.WriteString(o.to, text)
	o.err = errors.Join(o.err, err)
}

// probeText tells a finding in one line, and what helps in another one.
func probeText(l operate.ProbeLine) string {
	mark, text := "ok", terminal.Printable(l.Text)
	switch {
	case !l.Tested():
		mark, text = "-", "not tested: "+text
	case !l.OK:
		mark = "WRONG"
	}
	switch l.State {
	case operate.StateOK, operate.StateNotTested, operate.StateFailing, operate.StateWrong:
	default:
		text = strings.ReplaceAll(l.State, "_", " ") + ": " + text
	}
	if l.Name != "" {
		text = l.Name + ": " + text
	}
	line := fmt.Sprintf("%-5s  %-8s  %s\n", mark, l.What, text)
	if l.Help != "" && !l.OK {
		line += fmt.Sprintf("%-5s  %-8s  what helps: %s\n", "", "", l.Help)
	}
	return line
}
