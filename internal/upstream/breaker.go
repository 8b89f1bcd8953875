package upstream

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Breaker is the state of the circuit breakers of one URL.
type Breaker struct {
	// URL is scheme, host and port.
	URL string
	// Fails is how many tries in a row have failed.
	Fails int
	// Open says that the URL is not asked, except with a probe now and then, for
	// manifests, blobs or lists at least.
	Open bool
	// Wait is how long until the next probe may be sent, while Open.
	Wait time.Duration
	// Class is that of the last failure, while Fails is not 0.
	Class oci.Class
}

// breaker keeps requests away from a registry that has failed several times in a
// row: they would only make clients wait, and the registry's trouble worse. While
// it is open, one try goes through each fail duration, as a probe. Any answer
// closes it, also a 404: it is the registry that is probed, not what it has.
//
// Manifests, blobs and lists have a circuit each, and the connection has one that
// all of them need. What can be the trouble of a single repository, a 5xx or
// silence, opens circuits only if no other one speaks against that, and if a ping
// fails, too: that of its kind, and those of kinds that have not had an answer
// meanwhile. Safe for concurrent use.
type breaker struct {
	max  int // 0 = never opens
	rest time.Duration
	now  func() time.Time
	// changed is called when a circuit has opened or closed, with the lock held.
	changed func(Breaker)
	url     string

	mu       sync.Mutex
	line     circuit // failures to connect
	circuits [kinds]circuit
}

// circuit is one part of a breaker. The breaker's lock guards it.
type circuit struct {
	fails int
	open  bool
	class oci.Class
	// probe is when the next try may go through. It moves when one does, not when
	// that one ends, so a probe that hangs or is canceled blocks nothing.
	probe time.Time
	// failing is the repository that has failed since the last success, and began
	// when; several says that there are more.
	failing string
	began   time.Time
	several bool
	// good is the repository that has got an answer last, at goodAt.
	good   string
	goodAt time.Time
}

// goodFor is how long the answer to one repository speaks for the registry when
// another one fails.
const goodFor = 10 * time.Minute

// admit reports whether to try; if not, for how long not. Where more than one
// try could be a probe, only the first is.
func (b *breaker) admit(of kind) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	both := [2]*circuit{&b.line, &b.circuits[of]}
	for _, c := range both {
		wait = max(wait, b.waitLocked(c))
	}
	if wait > 0 {
		return wait, false
	}
	for _, c := range both {
		if c.open {
			b.pause(c)
		}
	}
	return 0, true
}

// ready is admit without the promise to try.
func (b *breaker) ready(of kind) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.waitLocked(&b.line) <= 0 && b.waitLocked(&b.circuits[of]) <= 0
}

func (b *breaker) waitLocked(c *circuit) time.Duration {
	if !c.open {
		return 0
	}
	wait := c.probe.Sub(b.now())
	if wait > 2*b.rest {
		return 0 // the clock was set back
	}
	return max(wait, 0)
}

// pause spreads the probes, so that those of many gateways do not meet.
func (b *breaker) pause(c *circuit) { c.probe = b.now().Add(b.rest + rand.N(b.rest/5+1)) }

// succeeded notes an answer to a repository, whatever it says. It closes what has
// failed, and what was only taken to fail with others.
func (b *breaker) succeeded(of kind, repository string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	closed := b.line.close()
	for k := range b.circuits {
		if c := &b.circuits[k]; kind(k) == of || c.fails == 0 {
			closed = c.close() || closed
		}
	}
	c := &b.circuits[of]
	c.good, c.goodAt = repository, b.now()
	if closed {
		b.changed(Breaker{URL: b.url})
	}
}

// close forgets the failures, and reports whether the circuit was open.
func (c *circuit) close() (wasOpen bool) {
	wasOpen = c.open
	c.fails, c.open, c.failing, c.several = 0, false, "", false
	return wasOpen
}

// failed notes a failure of a try for a repository. It reports whether a ping has
// to tell now if it is the registry that fails; see confirmed.
func (b *breaker) failed(of kind, repository string, f *wire.Failure) (doubtful bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f.Unreached {
		b.failLocked(&b.line, f.Class)
		if b.isDueLocked(&b.line) {
			b.openLocked(&b.line)
			b.changed(b.circuitState(&b.line))
		}
		return false
	}
	// The registry was reached, but nobody knows what it is worth yet.
	c := &b.circuits[of]
	b.failLocked(c, f.Class)
	switch c.failing {
	case "":
		c.failing, c.began = repository, b.now()
	case repository:
	default:
		c.several = true
	}
	age := b.now().Sub(c.goodAt)
	another := c.good != "" && c.good != repository && age >= 0 && age < goodFor
	return b.isDueLocked(c) && (c.several || !another)
}

func (b *breaker) failLocked(c *circuit, class oci.Class) { c.fails, c.class = c.fails+1, class }

func (b *breaker) isDueLocked(c *circuit) bool { return !c.open && b.max > 0 && c.fails >= b.max }

// confirmed opens a circuit whose failures a ping has confirmed. If the ping was
// answered, they begin to count anew.
func (b *breaker) confirmed(of kind, alive bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := &b.circuits[of]
	switch {
	case !b.isDueLocked(c): // somebody else has found out meanwhile
	case alive:
		c.fails = 0
	default:
		for k := range b.circuits {
			if other := &b.circuits[k]; !other.open && !other.goodAt.After(c.began) {
				b.openLocked(other)
			}
		}
		b.changed(b.circuitState(c))
	}
}

func (b *breaker) openLocked(c *circuit) {
	c.open = true
	b.pause(c)
}

func (b *breaker) circuitState(c *circuit) Breaker {
	s := Breaker{URL: b.url, Fails: c.fails, Open: c.open, Wait: b.waitLocked(c)}
	if c.fails > 0 {
		s.Class = c.class
	}
	return s
}

// state is that of the worst circuit.
func (b *breaker) state() Breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	worst := b.circuitState(&b.line)
	for of := range b.circuits {
		s := b.circuitState(&b.circuits[of])
		if s.Open && !worst.Open || s.Open == worst.Open && s.Fails > worst.Fails {
			worst = s
		}
	}
	return worst
}

// pingTime is how long the registry has to answer the ping that tells its trouble
// from that of a repository. Somebody is waiting for an answer meanwhile.
const pingTime = 900 * time.Millisecond

// record tells breaker and health how a try has ended that took so long; nil = with an
// answer.
func (v *visit) record(ctx context.Context, f *wire.Failure, took time.Duration) {
	b := v.e.breaker
	v.e.health.answered(v.kind, v.repository, f, v.c.o.Now(), took)
	switch {
	case f != nil && f.IsNeutral():
	case f == nil || !f.IsTrouble():
		b.succeeded(v.kind, v.repository)
	case b.failed(v.kind, v.repository, f):
		b.confirmed(v.kind, v.e.isWell(ctx))
	}
}

// isWell reports whether the registry answers a ping with anything but a 5xx.
func (e *endpoint) isWell(ctx context.Context) bool {
	// The time of the operation may be over.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pingTime)
	defer cancel()
	status, err := e.registry.Ping(ctx)
	return err == nil && !wire.IsServerError(status)
}

// Breakers returns the state of the circuit breakers of each URL, in their order.
func (c *Client) Breakers() []Breaker {
	states := make([]Breaker, 0, len(c.endpoints))
	for _, e := range c.endpoints {
		states = append(states, e.breaker.state())
	}
	return states
}

// breakerChanged logs what an operator wants to know of, once each time.
func (c *Client) breakerChanged(b Breaker) {
	if b.Open {
		c.o.Logger.Warn("upstream fails, breaker opened", "upstream", c.o.Name, "url", b.URL,
			"fails", b.Fails, "class", string(b.Class), "probe_in", b.Wait)
		return
	}
	c.o.Logger.Info("upstream answers again, breaker closed", "upstream", c.o.Name, "url", b.URL)
}
