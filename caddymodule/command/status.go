package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// gatewayStatus is what the admin API shows of a gateway.
type gatewayStatus struct {
	Storage   []cacheStatus   `json:"storage"`
	Upstreams []breakerStatus `json:"upstreams"`
	Traffic   []trafficStatus `json:"traffic"`
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--watch] [--storage <dir>] [--address <admin>]",
		Short: "Shows how the gateway fares",
		Long: `
Shows the storage, what is being downloaded, and for each upstream whether it is
asked at present, and how much of what was asked for came from the cache. Counts are
those since the server began. Of a storage that no server has open, only its size is
shown.

STATE is ok, as long as nothing failed; failing, with the number of failures in a
row; down, while the upstream is left alone until the next probe; or not asked, of
one that is not configured any more. HITS is the share of answers that did not need
the upstream.

With --watch it goes on until it is interrupted; in a terminal, in place.

The exit code is 0 if all is well, 1 if an index is not open or an upstream is down,
and 2 if it could not be found out.`,
		Example: `  pullgate mirror status --watch
  pullgate mirror status --address unix//run/pullgate/admin.sock --json`,
	}
	addTargetFlags(cmd)
	cmd.Flags().BoolP("watch", "w", false, "Show it again and again")
	cmd.Flags().Duration("interval", 2*time.Second, "How often --watch looks")
	cmd.Flags().Bool("json", false, "Print it as JSON, with --watch one document after another")
	return mirrorCommand(cmd, runStatus)
}

func runStatus(cmd *cobra.Command) (int, error) {
	flags := caddycmd.Flags{FlagSet: cmd.Flags()}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	interval := flags.Duration("interval")
	if interval < 100*time.Millisecond {
		return exitFailure, fmt.Errorf("--interval: %v is too often, want 100ms or more", interval)
	}
	t, err := newTarget(ctx, cmd)
	if err != nil {
		return exitFailure, err
	}
	out := statusOutput{out: cmd.OutOrStdout(), json: flags.Bool("json"), watch: flags.Bool("watch"), now: time.Now}
	if t.address == "" && out.watch {
		return exitFailure, fmt.Errorf("there is no server to watch: %w", t.silence)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		s, err := t.status(ctx, cmd)
		if ctx.Err() != nil && out.watch {
			return 0, nil
		}
		if err != nil {
			return exitFailure, err
		}
		if err := out.print(t, s); err != nil {
			return exitFailure, err
		}
		if !out.watch {
			if s.well() {
				return 0, nil
			}
			return exitFindings, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, nil
		}
	}
}

// well reports whether nothing is wrong.
func (s gatewayStatus) well() bool {
	return !slices.ContainsFunc(s.Storage, func(c cacheStatus) bool { return !c.IndexOpen }) &&
		!slices.ContainsFunc(s.Upstreams, func(b breakerStatus) bool { return b.State == breakerStates[2] })
}

// status asks the server, or opens the store that no server has open.
func (t target) status(ctx context.Context, cmd *cobra.Command) (s gatewayStatus, err error) {
	if t.address == "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "Looking at %s, as no server has it open (%v).\n", t.path, t.silence)
		store, err := t.open(ctx, storage.Options{Existing: true, Inspect: true}, storage.Open)
		if err != nil {
			return s, err
		}
		held, err := store.Inventory(ctx, oci.Selection{})
		c := newCacheStatus(t.path, store.Usage())
		c.Blobs, c.BlobBytes, c.Counted = held.Blobs, held.Bytes, err == nil
		s.Storage = []cacheStatus{c}
		if errors.Is(err, storage.ErrNoIndex) {
			err = nil // which the status says
		}
		return s, errors.Join(err, store.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	response, err := askAdmin(ctx, t.address, http.MethodGet, "/registry_mirror/", nil)
	if err != nil {
		return s, fmt.Errorf("admin API at %s: %w", t.address, err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&s); err != nil {
		return s, fmt.Errorf("admin API at %s: read answer: %w", t.address, err)
	}
	if t.path != "" {
		s.Storage = slices.DeleteFunc(s.Storage, func(c cacheStatus) bool { return c.Path != t.path })
	}
	return s, nil
}
