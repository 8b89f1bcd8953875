package config

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Resilience says what to do when an upstream is in trouble.
type Resilience struct {
	// After how many failed tries in a row (no answer, or a 5xx) the upstream is
	// not asked any more: tags are then answered from the cache at once, stale,
	// and what is not cached with 503. Each URL counts for itself. -1 = never.
	// Default: 5.
	MaxFails int `json:"max_fails,omitempty"`

	// How long the upstream is left alone then, until one request is let through
	// as a probe. Default: 5s.
	FailDuration caddy.Duration `json:"fail_duration,omitempty"`

	// How long stale tags are served once the upstream denies access, such as
	// after credentials were revoked; counted from the first denial. After that
	// tags are answered with 403. Digests are not affected. -1 = not at all.
	// Default: 1h.
	StaleIfDenied caddy.Duration `json:"stale_if_denied,omitempty"`

	// How long a tag that the upstream has deleted is still served, as stale, counted
	// from its first 404. -1 = never. Default: 0, as long as the image is pinned.
	StaleIfGone caddy.Duration `json:"stale_if_gone,omitempty"`

	// How many blobs are downloaded from the upstream at a time. More of them
	// wait. -1 = any number. Default: 256.
	MaxFills int `json:"max_fills,omitempty"`
}

const (
	defaultStaleIfDenied = time.Hour
	defaultMaxFills      = 256
)

func (r *Resilience) check() error {
	switch {
	case r.MaxFails < -1:
		return errors.New("max_fails must not be negative, except -1 (never stop asking)")
	case r.FailDuration < 0:
		return errors.New("fail_duration cannot be negative")
	case r.StaleIfDenied < -1:
		return errors.New("stale_if_denied must not be negative, except -1 (not at all)")
	case r.StaleIfGone < -1:
		return errors.New("stale_if_gone must not be negative, except -1 (never)")
	case r.MaxFills < -1:
		return errors.New("max_fills must not be negative, except -1 (any number)")
	}
	return nil
}

func (r *Resilience) staleIfDenied() time.Duration {
	switch r.StaleIfDenied {
	case 0:
		return defaultStaleIfDenied
	case -1:
		return 0
	}
	return time.Duration(r.StaleIfDenied)
}

func (r *Resilience) maxFills() int {
	if r.MaxFills == 0 {
		return defaultMaxFills
	}
	return max(r.MaxFills, 0)
}
