package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Probed is what a probe of one URL has found.
type Probed struct {
	State

	// Took is how long it took, and Clock how far ahead of ours the clock of the registry
	// is; nil = it does not tell.
	Took  time.Duration
	Clock *time.Duration
	// Identified says that the credentials were accepted, Login that there are some.
	Identified, Login bool
}

// Probe asks each URL whether it answers, and whether it accepts the credentials. It does
// so whatever was found out before, and changes nothing of that: clients count on it.
// Probes are in the order of the URLs.
func (c *Client) Probe(ctx context.Context) []Probed {
	found := make([]Probed, len(c.endpoints))
	var all sync.WaitGroup
	for i, e := range c.endpoints {
		all.Go(func() { found[i] = e.probe(ctx, c.o.Now) })
	}
	all.Wait()
	return found
}

func (e *endpoint) probe(ctx context.Context, now func() time.Time) Probed {
	began := now()
	trial, err := e.registry.Try(ctx)
	ended := now()
	p := Probed{State: e.state(ended), Took: ended.Sub(began), Identified: trial.Identified, Login: e.registry.HasLogin()}
	if trial.Clock.IsZero() {
		trial.Clock = leastClock(err, began)
	}
	if !trial.Clock.IsZero() {
		// What is told has no fractions.
		ahead := trial.Clock.Sub(began.Truncate(time.Second))
		p.Clock = &ahead
	}
	if err != nil {
		p.State = State{Breaker: p.Breaker, Since: began, Limit: p.Limit}
		p.explain(wire.AsFailure(ctx, e.base.Host, err))
	} else if p.Condition != Limited && p.Condition != Denied {
		// It answers. What is refused to some repositories, and limits, it does not show.
		p.State = State{Breaker: p.Breaker, Condition: OK, Since: began, Limit: p.Limit}
	}
	return p
}

// leastClock returns what time it is at least where a certificate is refused as it is not
// good yet: it was issued by somebody who knew. Zero = it was not that.
func leastClock(err error, now time.Time) time.Time {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore) {
		return invalid.Cert.NotBefore
	}
	return time.Time{}
}

// explain sets what a failure of a version check means.
func (s *State) explain(f *wire.Failure) {
	s.Error = f.Text
	s.Condition, _ = conditionOf(f)
	switch {
	case f.Class == oci.ClassRateLimited:
		s.Condition = Limited
	case s.Condition == OK:
		s.Condition = Failing
	}
	s.advise()
}
