package command

import (
	"context"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// completeTime is how long somebody waits who presses the tab key.
const completeTime = 700 * time.Millisecond

// ask asks the running server for completions, which there are none of if it cannot be.
func (r reader) ask(cmd *cobra.Command, about func(context.Context, *operate.Client, string) []string) []string {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	run := &run{cmd: cmd, flags: caddycmd.Flags{FlagSet: cmd.Flags()}, ctx: ctx, read: r}
	if run.find() != nil || run.address == "" {
		return nil
	}
	return about(ctx, admin.Client(run.address), run.path)
}

// completeImages completes what is cached: first the upstream, then the repository, then
// the tag.
func (r reader) completeImages(cmd *cobra.Command, _ []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	upstream, rest, inside := strings.Cut(begun, "/")
	repository, _, tagged := strings.Cut(rest, ":")
	sel, end := oci.Selection{}, "/"
	if inside {
		sel.Upstream, end = upstream, ""
	}
	if tagged {
		sel.Repository = repository
	}
	words := r.ask(cmd, func(ctx context.Context, c *operate.Client, path string) (words []string) {
		_ = c.Inventory(ctx, operate.InventoryRequest{Path: path, Selection: sel}, func(line operate.InventoryLine) {
			if line.Report == nil {
				return
			}
			for _, h := range line.Report.Holdings {
				if word := h.Name + end; strings.HasPrefix(word, begun) {
					words = append(words, word)
				}
			}
		})
		return words
	})
	return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// completePins completes the pins that can be dropped.
func (r reader) completePins(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	words := r.ask(cmd, func(ctx context.Context, c *operate.Client, path string) (words []string) {
		_ = c.Pins(ctx, operate.PinRequest{Path: path}, func(line operate.PinLine) {
			if line.Report == nil {
				return
			}
			for _, pin := range line.Report.Pins {
				if pin.Stored && strings.HasPrefix(pin.Pattern, begun) {
					words = append(words, pin.Pattern)
				}
			}
		})
		return words
	})
	return words, cobra.ShellCompDirectiveNoFileComp
}
