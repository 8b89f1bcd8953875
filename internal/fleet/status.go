package fleet

import (
	"errors"

	"github.com/pullgate/pullgate/internal/fleet/caution"
	"github.com/pullgate/pullgate/internal/fleet/janitor"
)

// Status is how the bucket of a gateway fares, since it is used.
type Status struct {
	Name string `json:"bucket"`
	// ReadError and WriteError say why it is not read, or written, at present.
	ReadError  string `json:"read_error,omitempty"`
	WriteError string `json:"write_error,omitempty"`
	// Reads and Writes are the requests, and Failures those that it did not answer well.
	Reads    int64 `json:"reads"`
	Writes   int64 `json:"writes"`
	Failures int64 `json:"failures"`
	// Received and Sent are the bytes of objects.
	Received int64 `json:"received_bytes"`
	Sent     int64 `json:"sent_bytes"`
	// Waiting are uploads that are not done, and Behind says that some were given up, or may have been
	// before the start: they are caught up with.
	Waiting int  `json:"waiting"`
	Behind  bool `json:"behind"`
	// PurgeError says why it is not known at present what other gateways remove.
	PurgeError string `json:"purge_error,omitempty"`

	janitor.Status
}

// OK reports whether the bucket is asked as ever.
func (s *Status) OK() bool { return s.ReadError == "" && s.WriteError == "" }

// Status returns how the bucket fares; nil = there is none.
func (f *Fleet) Status() *Status {
	d := f.depot.Load()
	if d == nil {
		return nil
	}
	s := &Status{
		Name: d.name, Reads: d.counts.reads.Load(), Writes: d.counts.writes.Load(), Failures: d.counts.failures.Load(),
		Received: d.counts.received.Load(), Sent: d.counts.sent.Load(), Waiting: d.uploads.waiting(), Behind: d.uploads.behind.Load(),
		Status: d.cleaner.Status(),
	}
	if err := d.purges.failed.Load(); err != nil && !errors.Is(*err, errNotAsked) {
		s.PurgeError = (*err).Error()
	}
	for _, of := range []struct {
		breaker *caution.Breaker
		text    *string
	}{{d.bodies, &s.ReadError}, {d.reads, &s.ReadError}, {d.writes, &s.WriteError}} {
		if err := of.breaker.Trouble(); err != nil {
			*of.text = err.Error()
		}
	}
	return s
}
