package operate

import (
	"context"
	"fmt"
	"time"
)

// Reach is what became of a probe of one URL of an upstream.
type Reach struct {
	UpstreamStatus

	Took time.Duration
	// Ahead is how far the clock there is ahead of ours; nil = it does not tell.
	Ahead *time.Duration
	// Login says that there are credentials, Identified that they were accepted.
	Login, Identified bool
}

// mostAhead is how wrong a clock may be: tokens are good for a minute at least.
const mostAhead = time.Minute

// reachAll probes upstreams, all at the same time, and tells what came of each URL. It
// returns the clock that is nearest to ours.
func reachAll(ctx context.Context, upstreams []*Upstream, tell func(ProbeLine)) (nearest clock) {
	type reached struct {
		of   *Upstream
		urls []Reach
		err  error
	}
	results := make(chan reached)
	pending := 0
	for _, u := range upstreams {
		switch {
		case u.Offline:
			tell(ProbeLine{What: ProbeUpstream, Name: u.Name, OK: true, State: StateOffline, Text: "only the cache answers"})
		case u.Probe != nil:
			pending++
			go func() {
				ctx, cancel := context.WithTimeout(ctx, probeTime)
				defer cancel()
				urls, err := u.Probe(ctx)
				results <- reached{u, urls, err}
			}()
		}
	}
	for range pending {
		r := <-results
		if r.err != nil {
			tell(ProbeLine{What: ProbeUpstream, Name: r.of.Name, State: StateFailing, Text: r.err.Error(), Help: "see the log of the server"})
		}
		for _, at := range r.urls {
			nearest.note(at)
			tell(at.finding())
		}
	}
	return nearest
}

func (r Reach) finding() ProbeLine {
	line := ProbeLine{
		What: ProbeUpstream, Name: r.Name, OK: r.State == StateOK, State: r.State, Text: r.URL, Help: r.Help, Seconds: r.Took.Seconds(),
	}
	switch {
	case r.Error != "":
		line.Text += ": " + r.Error
	case r.Identified:
		line.Text += " answers, and accepts the credentials"
	case r.Login:
		line.Text += " answers, and does not say whether it accepts the credentials"
	default:
		line.Text += " answers"
	}
	return line
}

// clock is what an upstream tells of the time; the zero value tells nothing.
type clock struct {
	upstream string
	ahead    time.Duration
}

func (c *clock) note(r Reach) {
	if r.Ahead != nil && (c.upstream == "" || r.Ahead.Abs() < c.ahead.Abs()) {
		*c = clock{r.Name, *r.Ahead}
	}
}

func (c clock) finding() ProbeLine {
	line := ProbeLine{What: ProbeClock, OK: true, State: StateOK, Text: "as that of " + c.upstream}
	switch {
	case c.upstream == "":
		line.State, line.Text = StateNotTested, "no upstream has told the time"
	case c.ahead.Abs() > mostAhead:
		line.OK, line.State = false, StateWrong
		side := "behind"
		if c.ahead < 0 {
			side = "ahead of"
		}
		wrong := c.ahead.Abs().Round(time.Second).String()
		if days := c.ahead.Abs() / (24 * time.Hour); days > 1 {
			wrong = fmt.Sprintf("%d days", days)
		}
		line.Text = fmt.Sprintf("it is %s %s that of %s", wrong, side, c.upstream)
		line.Help = "set the clock of this machine, best by NTP: certificates and tokens depend on it"
	}
	return line
}
