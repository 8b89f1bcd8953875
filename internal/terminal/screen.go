package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// screen prints what may change, once or again and again.
type screen struct {
	out         io.Writer
	watch, json bool

	printed bool
}

func (r *run) screen() screen {
	return screen{out: r.cmd.OutOrStdout(), watch: r.flags.Bool("watch"), json: r.json}
}

// print prints v as JSON, or its text; in a terminal that watches, in place of the one
// before.
func (s *screen) print(v any, text func(io.Writer)) error {
	var all bytes.Buffer
	switch {
	case s.json:
		encoder := json.NewEncoder(&all)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(v); err != nil {
			return err
		}
	case s.watch && terminal.IsTerminal(s.out):
		fmt.Fprint(&all, "\x1b[H") // what stood there is overwritten, which does not flicker
		var now bytes.Buffer
		text(&now)
		all.Write(bytes.ReplaceAll(now.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
		fmt.Fprint(&all, "\x1b[J")
	default:
		if s.printed {
			fmt.Fprintln(&all)
		}
		text(&all)
	}
	s.printed = true
	_, err := s.out.Write(all.Bytes())
	return err
}
