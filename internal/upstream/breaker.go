package upstream

import (
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// Breaker is the state of the circuit breaker of one URL.
type Breaker struct {
	// URL is scheme, host and port.
	URL string
	// Fails is how many tries in a row have failed.
	Fails int
	// Open says that the URL is not asked, but for a probe now and then.
	Open bool
	// Wait is how long until the next probe may be sent, while Open.
	Wait time.Duration
	// Class is that of the last failure, while Fails is not 0.
	Class oci.Class
}

// breaker keeps requests away from a registry that has failed several times in
// a row: they would only make clients wait, and the registry's trouble worse.
// While it is open, one try goes through each fail duration, as a probe. Any
// answer closes it, also a 404: it is the registry that is probed, not what it
// has. Safe for concurrent use.
type breaker struct {
	max  int // 0 = never opens
	rest time.Duration
	now  func() time.Time
	// changed is called when it has opened or closed, with the lock held.
	changed func(Breaker)
	url     string

	mu    sync.Mutex
	fails int
	open  bool
	class oci.Class
	// probe is when the next try may go through. It moves when one does, not when
	// that one ends, so a probe that hangs or is canceled blocks nothing.
	probe time.Time
}

// admit reports whether to try; if not, for how long not. Where more than one
// try could be a probe, only the first is.
func (b *breaker) admit() (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return 0, true
	}
	if wait := b.waitLocked(); wait > 0 {
		return wait, false
	}
	b.pause()
	return 0, true
}

// ready is admit without the promise to try.
func (b *breaker) ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.open || b.waitLocked() <= 0
}

func (b *breaker) waitLocked() time.Duration {
	wait := b.probe.Sub(b.now())
	if wait > 2*b.rest {
		return 0 // the clock was set back
	}
	return max(wait, 0)
}

// pause spreads the probes, so that those of many gateways do not meet.
func (b *breaker) pause() { b.probe = b.now().Add(b.rest + rand.N(b.rest/5+1)) }

// record notes how a try has ended; nil = with an answer.
func (b *breaker) record(f *failure) {
	if f.isNeutral() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !f.isTrouble() {
		wasOpen := b.open
		b.fails, b.open = 0, false
		if wasOpen {
			b.changed(b.stateLocked())
		}
		return
	}
	b.fails++
	b.class = f.class
	if !b.open && b.max > 0 && b.fails >= b.max {
		b.open = true
		b.pause()
		b.changed(b.stateLocked())
	}
}

func (b *breaker) state() Breaker {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stateLocked()
}

func (b *breaker) stateLocked() Breaker {
	s := Breaker{URL: b.url, Fails: b.fails, Open: b.open}
	if b.open {
		s.Wait = b.waitLocked()
	}
	if b.fails > 0 {
		s.Class = b.class
	}
	return s
}

// isTrouble reports whether a failure speaks against the registry as a whole: no
// answer, or a 5xx.
func (f *failure) isTrouble() bool {
	if f == nil {
		return false
	}
	switch f.class {
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout, oci.ClassToken:
		return f.status == 0 || isServerError(f.status)
	case oci.ClassStatus:
		return isServerError(f.status)
	}
	return false
}

// isServerError reports whether a status is one of a server in trouble. 501 is
// that of one in good health which does not know what it is asked for.
func isServerError(status int) bool {
	return status >= 500 && status < 600 && status != http.StatusNotImplemented
}

// isNeutral reports whether a failure says nothing of the registry: we gave up
// ourselves, did not even ask, or it is the trouble of a host that it redirects to.
func (f *failure) isNeutral() bool {
	if f == nil {
		return false
	}
	switch f.class {
	case oci.ClassCanceled, oci.ClassForbidden, oci.ClassBreaker, oci.ClassExhausted:
		return true
	}
	return f.unasked || f.crowded || f.abroad && f.isTrouble()
}

// Breakers returns the state of the circuit breaker of each URL, in their order.
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
