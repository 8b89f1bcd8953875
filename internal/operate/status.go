package operate

import (
	"context"
	"errors"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Status is how a gateway fares. All sizes are in bytes.
type Status struct {
	Storage   []StoreStatus    `json:"storage"`
	Upstreams []UpstreamStatus `json:"upstreams"`
	Traffic   []Traffic        `json:"traffic"`
}

// StoreStatus is one open store, and what mirrors do with it.
type StoreStatus struct {
	Path string `json:"path"`
	storage.Usage
	mirror.Stats
}

// UpstreamStatus is the circuit breaker of one URL of an upstream.
type UpstreamStatus struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// State is closed, half_open (a probe is due) or open.
	State string `json:"state"`
	// Fails counts failed tries in a row, Class says why the last one failed.
	Fails int    `json:"fails"`
	Class string `json:"class,omitempty"`
	// Wait is how many seconds to go until the next probe.
	Wait float64 `json:"wait_seconds,omitempty"`
}

// The states of circuit breakers.
const (
	BreakerClosed   = "closed"
	BreakerHalfOpen = "half_open"
	BreakerOpen     = "open"
)

// Level orders the states of breakers, from 0 = closed to 2 = open.
func (u UpstreamStatus) Level() int {
	switch u.State {
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
	// Hits were answered from the cache, Joined by a download that was running
	// already, Misses by asking the upstream, and Stale from the cache as that failed.
	Hits   int64 `json:"hits"`
	Joined int64 `json:"joined"`
	Misses int64 `json:"misses"`
	Stale  int64 `json:"stale"`
	// Errors were answered with 5xx, or cut.
	Errors int64 `json:"errors"`
	// Sent are the bytes of bodies to clients, Received those from the upstream.
	Sent     int64 `json:"sent_bytes"`
	Received int64 `json:"received_bytes"`
}

// HitRate is the share of what could be answered that did not need the upstream, and
// whether there was anything.
func (t Traffic) HitRate() (share float64, ok bool) {
	answered := t.Hits + t.Joined + t.Misses + t.Stale
	return float64(t.Hits+t.Joined+t.Stale) / float64(max(answered, 1)), answered > 0
}

// Status implements Gateway. A command has not counted the blobs: it lists them.
func (l *Local) Status(ctx context.Context, path string) (status Status, err error) {
	open, err := l.at(path)
	if err != nil {
		return status, err
	}
	status.Storage = make([]StoreStatus, 0, len(open))
	for _, s := range open {
		one := StoreStatus{Path: s.Path, Usage: s.Usage()}
		if l.serves() {
			one.Stats = s.Mirror.Stats()
		} else {
			held, err := s.Inventory(ctx, oci.Selection{})
			if err != nil && !errors.Is(err, storage.ErrNoIndex) { // the latter stands in the status
				return status, err
			}
			one.Blobs, one.BlobBytes, one.Usage.Upstreams, one.Counted = held.Blobs, held.Bytes, held.Origins, err == nil
		}
		status.Storage = append(status.Storage, one)
	}
	if l.serves() {
		status.Upstreams, status.Traffic = l.Upstreams(), l.Traffic()
	}
	return status, nil
}
