package upstream

import (
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Condition is how an upstream fares, in a word.
type Condition string

// The conditions.
const (
	OK          Condition = "ok"
	Slow        Condition = "slow"
	Failing     Condition = "failing"
	Denied      Condition = "denied"
	Limited     Condition = "limited"
	Refused     Condition = "credentials_refused"
	Unresolved  Condition = "name_does_not_resolve"
	Certificate Condition = "certificate"
	Down        Condition = "down" // its breaker is open
)

// Conditions returns all conditions, from good to bad.
func Conditions() []Condition {
	return []Condition{OK, Slow, Failing, Denied, Limited, Refused, Unresolved, Certificate, Down}
}

// Level orders conditions, from 0 = ok.
func (c Condition) Level() int { return max(slices.Index(Conditions(), c), 0) }

// help says what helps.
func (c Condition) help() string {
	switch c {
	case Slow:
		return "check the network and `proxy`; another `url` is asked where the first does not answer"
	case Failing, Down:
		return "check `url`, `proxy` and the firewall; what is cached is served meanwhile"
	case Denied:
		return "check that `credentials` may read these repositories, or give the upstream `credentials`"
	case Limited:
		return "wait; `credentials` may have a higher limit, and a longer `tag_ttl` asks less often"
	case Refused:
		return "correct user and password of `credentials`"
	case Unresolved:
		return "check `url` and the DNS of this machine"
	case Certificate:
		return "check `url` and the clock of this machine, or trust the authority with `tls_ca`"
	}
	return ""
}

// State is how one URL of an upstream fares.
type State struct {
	Breaker

	Condition Condition
	// Since is when the condition began, and Until when it ends, if that is known.
	Since, Until time.Time
	// Error is the last failure in one sentence, and Help says what helps; empty while
	// all is well. A failure that is a repository's own does not count.
	Error, Help string
	// Limit is what the registry last told of its rate limit; nil = nothing.
	Limit *RateLimit
}

// RateLimit is what an answer tells of a rate limit.
type RateLimit = wire.RateLimit

// States returns the state of each URL, in their order.
func (c *Client) States() []State {
	now := c.o.Now()
	states := make([]State, 0, len(c.endpoints))
	for _, e := range c.endpoints {
		states = append(states, e.state(now))
	}
	return states
}

func (e *endpoint) state(now time.Time) State {
	s := e.health.state(now)
	s.Breaker = e.breaker.state()
	switch {
	case s.Open && s.Condition.Level() < Unresolved.Level():
		s.Condition, s.Until = Down, now.Add(s.Wait)
	case s.Condition.Level() < Limited.Level():
		if left, since := e.limited(now); left > 0 {
			s.Condition, s.Since, s.Until = Limited, since, now.Add(left)
			s.Error = wire.Limits(e.base.Host, s.Until)
		}
	}
	s.advise()
	return s
}

// advise says what helps.
func (s *State) advise() {
	s.Help = s.Condition.help()
	// Some failures know better.
	if sentence, check, ok := strings.Cut(s.Error, ": check "); ok {
		s.Error, s.Help = sentence, "check "+check
	}
}

// limited returns how long the registry does not want to be asked, for something at
// least, and since when.
func (e *endpoint) limited(now time.Time) (left time.Duration, since time.Time) {
	left, since = e.usedUp.left(now), e.usedUp.since()
	for k := range e.pauses {
		if l, began := e.pauses[k].longest(now); l > left {
			left, since = l, began
		}
	}
	return left, since
}

// conditionOf returns the condition that a failure speaks for, OK if for none, and
// whether it does so for the upstream as a whole, whichever repository was asked for.
func conditionOf(f *wire.Failure) (c Condition, whole bool) {
	if f.Unasked || f.Crowded || f.Abroad {
		return OK, false
	}
	switch {
	case f.Class == oci.ClassDenied && f.Identity:
		return Refused, true
	case f.Class == oci.ClassDenied && f.Login:
		return Refused, false
	case f.Class == oci.ClassDenied:
		return Denied, false
	case f.Class == oci.ClassTLS:
		return Certificate, true
	case f.Class == oci.ClassDNS:
		return Unresolved, true
	case f.Class == oci.ClassTimeout:
		return Slow, f.Unreached
	case f.IsTrouble(), f.Class == oci.ClassForbidden, f.Class == oci.ClassNotRegistry:
		return Failing, f.Unreached
	}
	return OK, false
}
