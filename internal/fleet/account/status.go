// Package account tells how the bucket of a gateway fares, and keeps what is needed for
// that: what waits to be uploaded since when, and how long answers take.
package account

import (
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
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
	// Waiting are uploads, and Behind says that some were given up, or may have been
	// before the start: they are caught up with.
	Waiting int  `json:"waiting"`
	Behind  bool `json:"behind"`
	// PurgeError says why it is not known at present what other gateways remove.
	PurgeError string `json:"purge_error,omitempty"`

	Detail
	janitor.Status
}

// Detail is what else people want to know when something is wrong.
type Detail struct {
	// ReadSince and WriteSince are since when it is not read, or written.
	ReadSince  time.Time `json:"read_since,omitzero"`
	WriteSince time.Time `json:"write_since,omitzero"`
	// LastError is what went wrong last, LastFailed when that was, and Help what helps; it
	// may be well since.
	LastError  string    `json:"last_error,omitempty"`
	LastFailed time.Time `json:"last_failed,omitzero"`
	Help       string    `json:"help,omitempty"`
	// Oldest is since when the oldest upload waits.
	Oldest time.Time `json:"oldest_waiting,omitzero"`
	// PurgesRead is when it was last known what other gateways remove, and SharedPins how
	// many pins are in the bucket.
	PurgesRead time.Time `json:"purges_read,omitzero"`
	SharedPins int       `json:"shared_pins"`
	// Median and Slow are how long the last reads took until their first byte: half of them,
	// and 95 %, at most; Budget is how long one may. The registry is asked then.
	Median float64 `json:"first_byte_p50_seconds,omitempty"`
	Slow   float64 `json:"first_byte_p95_seconds,omitempty"`
	Budget float64 `json:"first_byte_budget_seconds"`
}

// OK reports whether the bucket is asked as ever.
func (s *Status) OK() bool { return s.ReadError == "" && s.WriteError == "" }

// Breakers notes how those stand by which the bucket is read, and the one by which it is
// written.
func (s *Status) Breakers(write caution.State, reads ...caution.State) {
	for _, state := range append(reads, write) {
		if state.Err != nil && !state.Failed.Before(s.LastFailed) {
			s.LastError, s.LastFailed, s.Help = state.Err.Error(), state.Failed, bucket.Help(state.Err)
		}
	}
	for _, read := range reads {
		if !read.Opened.IsZero() && (s.ReadSince.IsZero() || read.Opened.Before(s.ReadSince)) {
			s.ReadError, s.ReadSince = read.Err.Error(), read.Opened
		}
	}
	if !write.Opened.IsZero() {
		s.WriteError, s.WriteSince = write.Err.Error(), write.Opened
	}
}
