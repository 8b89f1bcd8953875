package operate

import (
	"context"
	"errors"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/fleet/peers"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Status is how a gateway fares. All sizes are in bytes.
type Status struct {
	// Time is when it was so, by the clock of the gateway.
	Time      time.Time        `json:"time"`
	Server    *Server          `json:"server,omitempty"` // nil = none has the store open
	Storage   []StoreStatus    `json:"storage"`
	Upstreams []UpstreamStatus `json:"upstreams"`
	Traffic   []Traffic        `json:"traffic"`
}

// Server is a process that serves.
type Server struct {
	Version string `json:"version"`
	// Host is the name of its machine; empty = it is not known.
	Host    string    `json:"host,omitempty"`
	Started time.Time `json:"started"`
	// Listen are the addresses, of those sites that are mirrors.
	Listen []string `json:"listen"`
}

// StoreStatus is one open store, and what mirrors do with it.
type StoreStatus struct {
	Path string `json:"path"`
	storage.Usage
	mirror.Stats
	// MaxSize is the most that blobs may take; 0 = what the disk has.
	MaxSize int64 `json:"max_size"`
	// Pins is how many pins there are.
	Pins int `json:"pins"`
	// Bucket is what is shared with other gateways; nil = nothing.
	Bucket *fleet.Status `json:"bucket,omitempty"`
	// Peers are the other gateways of its fleet; nil = none.
	Peers *peers.Status `json:"peers,omitempty"`
	// EvictedLastHour is how much went in the last hour.
	EvictedLastHour int64 `json:"evicted_last_hour_bytes"`
}

// UpstreamStatus is how one URL of an upstream fares.
type UpstreamStatus struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// State is an upstream.Condition, since when, and until when, if that is known.
	State string    `json:"state"`
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"`
	// Error is the last failure in a sentence, and Help what helps; empty if all is well.
	Error string `json:"error,omitempty"`
	Help  string `json:"help,omitempty"`
	// RateLimit is what the registry last told of it; nil = nothing.
	RateLimit *RateLimit `json:"rate_limit,omitempty"`
	// Breaker is closed, half_open (a probe is due) or open.
	Breaker string `json:"breaker"`
	// Fails counts failed tries in a row, Class says why the last one failed.
	Fails int    `json:"fails"`
	Class string `json:"class,omitempty"`
	// Wait is how many seconds to go until the next probe.
	Wait float64 `json:"wait_seconds,omitempty"`
}

// RateLimit is what a registry tells of its rate limit.
type RateLimit struct {
	Remaining int `json:"remaining"`
	Limit     int `json:"limit,omitempty"` // 0 = it is not told
	// Window is for how many seconds the limit is, and Reset when there is more; zero =
	// it is not told.
	Window float64   `json:"window_seconds,omitempty"`
	Reset  time.Time `json:"reset,omitzero"`
}

// StateOK is the state of an upstream that nothing is wrong with.
const StateOK = "ok"

// The states of circuit breakers.
const (
	BreakerClosed   = "closed"
	BreakerHalfOpen = "half_open"
	BreakerOpen     = "open"
)

// Level orders the states of breakers, from 0 = closed to 2 = open.
func (u UpstreamStatus) Level() int {
	switch u.Breaker {
	case BreakerOpen:
		return 2
	case BreakerHalfOpen:
		return 1
	}
	return 0
}

// Traffic is what was asked for of an upstream since the process began.
type Traffic struct {
	Name     string `json:"name"`
	Requests int64  `json:"requests"`
	// Hits were answered with what was in the cache before: of the first request for what
	// looking ahead brought, that is Prefetched. Joined were answered by a download that was
	// running already, Misses by asking the upstream, and Stale from the cache as that failed.
	Hits       int64 `json:"hits"`
	Prefetched int64 `json:"prefetched"`
	Joined     int64 `json:"joined"`
	Misses     int64 `json:"misses"`
	Stale      int64 `json:"stale"`
	// Errors were answered with 5xx, or cut.
	Errors int64 `json:"errors"`
	// Sent are the bytes of bodies to clients, Received those from the upstream, and
	// Preloaded of these the bytes of blobs that no client had asked for.
	Sent      int64 `json:"sent_bytes"`
	Received  int64 `json:"received_bytes"`
	Preloaded int64 `json:"preloaded_bytes"`
	// P50 and P95 are how long the last 256 requests to the upstream took until the header
	// of the answer, those for tokens included: half of them, and 95 %, at most; 0 = there
	// were none.
	P50 float64 `json:"p50_seconds,omitempty"`
	P95 float64 `json:"p95_seconds,omitempty"`
}

// Answered counts the requests that were not refused.
func (t Traffic) Answered() int64 { return t.Hits + t.Prefetched + t.Joined + t.Misses + t.Stale }

// HitRate is the share of what could be answered that cost the upstream's link nothing:
// neither for the request nor for the pull that it belongs to. ok tells whether there was
// anything.
func (t Traffic) HitRate() (share float64, ok bool) {
	return float64(t.Hits+t.Stale) / float64(max(t.Answered(), 1)), t.Answered() > 0
}

// Saved is how many bytes less have come from the upstream than went to clients, preload
// apart; negative, if more have.
func (t Traffic) Saved() int64 { return t.Sent - (t.Received - t.Preloaded) }

// Status returns what a look at a store tells.
func (s *Store) Status() StoreStatus {
	status := StoreStatus{Path: s.Path, MaxSize: s.Limits().MaxSize, Usage: s.Usage(), EvictedLastHour: s.History.Sum(time.Hour).Evicted}
	if s.Mirror != nil {
		status.Stats = s.Mirror.Stats()
	}
	if s.Fleet != nil {
		status.Bucket, status.Peers = s.Fleet.Status(), s.Fleet.Peers()
	}
	return status
}

// Status implements Gateway. A command has not counted the blobs: it lists them.
func (l *Local) Status(ctx context.Context, path string) (status Status, err error) {
	open, err := l.at(path)
	if err != nil {
		return status, err
	}
	status.Time, status.Storage = time.Now().UTC(), make([]StoreStatus, 0, len(open))
	for _, s := range open {
		one := s.Status()
		if pins, err := s.Pins(ctx); err == nil {
			one.Pins = len(pins) + len(s.Limits().Pins)
		}
		if !l.serves() {
			held, err := s.Inventory(ctx, oci.Selection{})
			if err != nil && !errors.Is(err, storage.ErrNoIndex) { // the latter stands in the status
				return status, err
			}
			one.Blobs, one.BlobBytes, one.Usage.Upstreams, one.Counted = held.Blobs, held.Bytes, held.Origins, err == nil
		}
		status.Storage = append(status.Storage, one)
	}
	if l.serves() {
		server := l.Server()
		status.Server, status.Upstreams, status.Traffic = &server, l.Upstreams(), l.Traffic()
	}
	return status, nil
}
