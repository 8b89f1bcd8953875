package pulls

import (
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// phase is what a request, or a pull as a whole, waits for; see operate.PullSeconds.
type phase int

// The phases. Of several requests, the last one here is that of the pull.
const (
	phaseClient phase = iota
	phaseLookUp
	phaseQueue
	phaseFirstByte
	phaseTransfer
	phases
)

var phaseNames = [phases]string{"client", "look_up", "queue", "first_byte", "transfer"}

// course is where the time of a pull goes.
type course struct {
	requests [phases]int // that are in each phase
	spent    [phases]time.Duration
	token    time.Duration // taken out of spent
	since    time.Time     // when spent was last right
}

// phase returns what the pull waits for.
func (c *course) phase() phase {
	p := phases - 1
	for p > phaseClient && c.requests[p] == 0 {
		p--
	}
	return p
}

// at lets time pass.
func (c *course) at(now time.Time) {
	if d := now.Sub(c.since); d > 0 {
		c.spent[c.phase()] += d
		c.since = now
	}
}

// move moves n requests from one phase to another.
func (c *course) move(n int, from, to phase) {
	c.requests[from] -= n
	c.requests[to] += n
}

// askedToken takes the time that a token server took, until now, out of that in which an
// answer of the upstream was waited for.
func (c *course) askedToken(d time.Duration) {
	if p := c.phase(); p == phaseLookUp || p == phaseFirstByte {
		d = min(d, c.spent[p])
		c.spent[p] -= d
		c.token += d
	}
}

// until forgets what has passed since the last answer, when only the client was waited
// for: the pull took that long.
func (c *course) until(took time.Duration) {
	for _, d := range c.spent {
		took -= d
	}
	c.spent[phaseClient] += min(took-c.token, 0)
}

func (c *course) seconds() operate.PullSeconds {
	return operate.PullSeconds{
		LookUp: c.spent[phaseLookUp].Seconds(), Queue: c.spent[phaseQueue].Seconds(), FirstByte: c.spent[phaseFirstByte].Seconds(),
		Token: c.token.Seconds(), Transfer: c.spent[phaseTransfer].Seconds(), Client: c.spent[phaseClient].Seconds(),
	}
}
