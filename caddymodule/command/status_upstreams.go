package command

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/terminal"
)

// upstreams prints a line for each upstream, and one more for each of its URLs if it
// has several.
func upstreams(w io.Writer, s operate.Status) {
	names := make(map[string]struct{})
	stored, urls, traffic := make(map[string]int64), make(map[string][]operate.UpstreamStatus), make(map[string]operate.Traffic)
	for _, c := range s.Storage {
		for name, bytes := range c.Upstreams {
			if name != "" {
				stored[name] += bytes
				names[name] = struct{}{}
			}
		}
	}
	for _, b := range s.Upstreams {
		urls[b.Name] = append(urls[b.Name], b)
		names[b.Name] = struct{}{}
	}
	for _, t := range s.Traffic {
		traffic[t.Name] = t
		names[t.Name] = struct{}{}
	}
	table := terminal.NewTable(w, "UPSTREAM", "STATE", "STORED", "REQUESTS", "HITS", "PREFETCHED", "STALE", "ERRORS", "SENT", "RECEIVED", "SAVED")
	defer table.Flush()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		t, hits, prefetched, saved := traffic[name], "-", "-", "-"
		if share, ok := t.HitRate(); ok {
			hits = fmt.Sprintf("%.0f %%", 100*share)
			prefetched = fmt.Sprintf("%.0f %%", 100*float64(t.Prefetched)/float64(t.Answered()))
		}
		if t.Saved() > 0 {
			saved = terminal.Size(t.Saved())
		}
		state := "not asked"
		if len(urls[name]) > 0 {
			worst := slices.MinFunc(urls[name], func(a, b operate.UpstreamStatus) int { return rank(a) - rank(b) })
			state = stateText(worst)
		}
		table.Row(name, state, terminal.Size(stored[name]), terminal.Number(t.Requests), hits, prefetched, terminal.Number(t.Stale), terminal.Number(t.Errors), terminal.Size(t.Sent), terminal.Size(t.Received), saved)
		if len(urls[name]) > 1 {
			for _, b := range urls[name] {
				table.Row("  "+b.URL, stateText(b), "", "", "", "", "", "", "", "", "")
			}
		}
	}
}

// rank orders the URLs of an upstream: it is as well as the best of them.
func rank(u operate.UpstreamStatus) int {
	if u.State == operate.StateOK {
		return 0
	}
	return 1 + 1000*u.Level() + min(u.Fails, 999)
}

// stateText tells a state in a few words.
func stateText(u operate.UpstreamStatus) string {
	text := strings.ReplaceAll(u.State, "_", " ")
	switch {
	case u.Breaker == operate.BreakerOpen:
		text += fmt.Sprintf(" (%s), probe in %v", u.Class, time.Duration(u.Wait*float64(time.Second)).Round(time.Second))
	case u.Breaker == operate.BreakerHalfOpen:
		text += fmt.Sprintf(" (%s), probe is due", u.Class)
	case !u.Until.IsZero():
		text += " until " + u.Until.Local().Format("15:04")
	case u.Fails > 0:
		text += fmt.Sprintf(" (%s), %d in a row", u.Class, u.Fails)
	}
	return text
}

// problems prints what is not well and what helps, and what is left of rate limits.
func problems(w io.Writer, s operate.Status) {
	for _, p := range operate.Problems(s) {
		since := ""
		if !p.Since.IsZero() {
			since = ", since " + p.Since.Local().Format("Jan 2 15:04:05")
		}
		fmt.Fprintf(w, "\n%s%s: %s\n  what helps: %s\n", cmp.Or(p.Name, p.What), since, terminal.Printable(p.Cause), p.Cure)
	}
	for _, u := range s.Upstreams {
		if l := u.RateLimit; l != nil {
			fmt.Fprintf(w, "\n%s has %s\n", u.Name, limitText(*l))
		}
	}
}

func limitText(l operate.RateLimit) string {
	text := terminal.Counted(l.Remaining, "pull") + " left"
	if l.Limit > 0 {
		text += " of " + terminal.Number(l.Limit)
	}
	if l.Window > 0 {
		text += " in " + terminal.Lasted(time.Duration(l.Window*float64(time.Second)))
	}
	if !l.Reset.IsZero() {
		text += ", more at " + l.Reset.Local().Format("15:04")
	}
	return text + " by its rate limit"
}
