package pulls

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

// Whatever happens beside each other, the parts of the time add up to all of it.
func TestCourseAddsUp(t *testing.T) {
	began := time.Unix(1_800_000_000, 0)
	c := course{since: began}
	step := func(seconds int) { c.at(began.Add(time.Duration(seconds) * time.Second)) }
	c.requests[phaseLookUp]++
	step(5)
	c.askedToken(3 * time.Second)
	c.move(1, phaseLookUp, phaseQueue)
	c.requests[phaseFirstByte]++
	step(6)
	c.askedToken(time.Minute) // begun before anybody waited
	c.move(1, phaseQueue, phaseTransfer)
	step(9)
	c.askedToken(time.Second) // nobody waits for it
	c.move(1, phaseTransfer, phaseClient)
	c.requests[phaseFirstByte]--
	step(20)
	c.until(11 * time.Second)
	if got, want := c.seconds(), (operate.PullSeconds{LookUp: 2, Token: 4, Transfer: 3, Client: 2}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
