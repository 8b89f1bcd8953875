package fleet

import (
	"errors"

	"github.com/pullgate/pullgate/internal/fleet/account"
)

// Status is how the bucket of a gateway fares.
type Status = account.Status

// Status returns how the bucket fares; nil = there is none.
func (f *Fleet) Status() *Status {
	d := f.depot.Load()
	if d == nil {
		return nil
	}
	s, kept := &Status{
		Name: d.name, Reads: d.counts.reads.Load(), Writes: d.counts.writes.Load(), Failures: d.counts.failures.Load(),
		Received: d.counts.received.Load(), Sent: d.counts.sent.Load(), Behind: d.uploads.behind.Load(), Status: d.cleaner.Status(),
	}, d.purges.kept.get()
	if err := d.purges.failed.Load(); err != nil && !errors.Is(*err, errNotAsked) {
		s.PurgeError = (*err).Error()
	}
	s.Breakers(d.writes.State(), d.reads.State(), d.bodies.State())
	s.Waiting, s.Oldest = d.uploads.queue.Backlog()
	s.PurgesRead, s.SharedPins = kept.Read, len(kept.Pins)
	median, slow := d.counts.delays.Quantiles()
	s.Median, s.Slow, s.Budget = median.Seconds(), slow.Seconds(), d.budget.Seconds()
	return s
}
