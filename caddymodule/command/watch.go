package command

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/pullgate/pullgate/internal/terminal"
)

func addWatchFlags(cmd *cobra.Command) {
	cmd.Flags().BoolP("watch", "w", false, "Show it again and again; with --json, one document after another")
	cmd.Flags().Duration("interval", 2*time.Second, "How often --watch looks")
}

// interval reads a flag of addWatchFlags.
func (r *run) interval() (time.Duration, error) {
	interval := r.flags.Duration("interval")
	if interval < 100*time.Millisecond {
		return 0, fmt.Errorf("--interval: %v is too often, want 100ms or more", interval)
	}
	return interval, nil
}

// repeat asks once, and shows the answer, or, if it is watched, again and again until it is
// interrupted. A server that was there may come back.
func repeat[V any](r *run, interval time.Duration, ask func() (V, error), show func(V) (int, error)) (int, error) {
	watch, known, lost := r.flags.Bool("watch"), false, false
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		answer, err := ask()
		switch {
		case r.ctx.Err() != nil && watch:
			return 0, nil
		case err != nil && !known:
			return exitFailure, err
		case err != nil:
			if !lost {
				r.out.Say("No answer: %v. It is asked again.", err)
			}
		default:
			code, err := show(answer)
			if err != nil {
				return exitFailure, err
			}
			if !watch {
				return code, nil
			}
			known = true
		}
		lost = err != nil
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			return 0, nil
		}
	}
}

func (r *run) screen() terminal.Screen {
	return terminal.Screen{To: r.cmd.OutOrStdout(), Watch: r.flags.Bool("watch"), JSON: r.json}
}
