package operate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/nearest"
)

// probeTime is how long it may take to find one thing out.
const probeTime = 20 * time.Second

// What a probe looks at.
const (
	ProbeServer   = "server"
	ProbeStorage  = "storage"
	ProbeUpstream = "upstream"
	ProbeClock    = "clock"
	ProbeSite     = "site"
)

// States of findings, besides those of upstreams.
const (
	StateNotTested = "not_tested"
	StateOffline   = "offline" // only the cache answers
	StateWrong     = "wrong"   // of a clock, or of a certificate
	StateFailing   = "failing"
)

// ProbeRequest tries whether a gateway has what pulls need: storage, upstreams, clock and
// sites; or one upstream only.
type ProbeRequest struct {
	Upstream string // its name or an alias
}

// Parameters returns the query.
func (q *ProbeRequest) Parameters() Parameters { return Parameters{"upstream": text(&q.Upstream)} }

// ProbeLine is one finding.
type ProbeLine struct {
	What string `json:"what"`
	Name string `json:"name,omitempty"` // which of them
	OK   bool   `json:"ok"`
	// State says it in a word, Text in a sentence, and Help says what helps.
	State string `json:"state"`
	Text  string `json:"text,omitempty"`
	Help  string `json:"help,omitempty"`
	// Seconds is how long it took to find out.
	Seconds float64 `json:"seconds,omitempty"`
	// Done ends an answer over HTTP. Whoever calls Probe gets no such line.
	Done bool `json:"done,omitempty"`
}

// IsProgress reports whether others say more than this line.
func (ProbeLine) IsProgress() bool { return false }

// Tested reports whether it was found out at all.
func (l ProbeLine) Tested() bool { return l.State != StateNotTested }

// Probe implements Gateway.
func (c *Client) Probe(ctx context.Context, q ProbeRequest, tell func(ProbeLine)) error {
	return askLines(ctx, c, ProbePath, q.Parameters(), nil, func(line ProbeLine) {
		if !line.Done {
			tell(line)
		}
	}, func(line ProbeLine) bool { return line.Done })
}

// Probe implements Gateway. A command looks at the store alone.
func (l *Local) Probe(ctx context.Context, q ProbeRequest, tell func(ProbeLine)) error {
	if !l.serves() {
		for _, s := range l.Stores() {
			tell(s.probe())
		}
		for _, what := range []string{ProbeUpstream, ProbeClock, ProbeSite} {
			tell(ProbeLine{What: what, OK: true, State: StateNotTested, Text: "no server has the storage open"})
		}
		return nil
	}
	s, sites, err := l.sites("")
	if err != nil {
		return err
	}
	upstreams, err := sites.probed(q.Upstream)
	if err != nil {
		return err
	}
	ctx, cancel := sites.untilExit(ctx)
	defer cancel(nil)
	if q.Upstream == "" {
		tell(l.Server().finding())
		for _, s := range l.Stores() {
			tell(s.probe())
		}
	}
	clock := reachAll(ctx, upstreams, tell)
	if q.Upstream != "" {
		return context.Cause(ctx)
	}
	tell(clock.finding())
	for _, site := range sites {
		for _, e := range site.Endpoints() {
			e.probe(ctx, s, site, tell)
		}
	}
	return context.Cause(ctx)
}

// probed returns the upstream of a name or alias, at all sites; "" = all upstreams.
func (l Sites) probed(name string) (upstreams []*Upstream, err error) {
	var names []string
	for _, s := range l {
		for _, u := range s.Upstreams {
			if name == "" || s.Names[name] == u.Name {
				upstreams = append(upstreams, u)
			}
		}
		names = slices.AppendSeq(names, maps.Keys(s.Names))
	}
	if name != "" && len(upstreams) == 0 {
		return nil, refuse(http.StatusNotFound, fmt.Errorf("no site mirrors %s%s", name, nearest.Hint(name, names)))
	}
	return upstreams, nil
}

func (s Server) finding() ProbeLine {
	line := ProbeLine{What: ProbeServer, Name: "pullgate " + s.Version, OK: true, State: StateOK}
	line.Text = fmt.Sprintf("runs since %s, at %s", s.Started.Format(time.DateTime), cmp.Or(strings.Join(s.Listen, " "), "no address"))
	if len(s.Listen) == 0 {
		line.OK, line.State, line.Help = false, StateFailing, "give a site the directive `registry_mirror`"
	}
	return line
}
