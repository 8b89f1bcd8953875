package caddymodule

import (
	"errors"
	"fmt"
	"strconv"
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

func init() {
	upstreamOptions["max_fails"] = count(func(u *Upstream) *int { return &u.MaxFails })
	upstreamOptions["misses_per_client"] = count(func(u *Upstream) *int { return &u.MissesPerClient })
	upstreamOptions["max_fills"] = count(func(u *Upstream) *int { return &u.MaxFills })
	upstreamOptions["fail_duration"] = patience("fail_duration", func(u *Upstream) *caddy.Duration { return &u.FailDuration })
	upstreamOptions["stale_if_denied"] = leniency("stale_if_denied", func(u *Upstream) *caddy.Duration { return &u.StaleIfDenied })
	upstreamOptions["stale_if_gone"] = leniency("stale_if_gone", func(u *Upstream) *caddy.Duration { return &u.StaleIfGone })
}

// leniency is an option with a duration; 0 = not at all, which is -1 in JSON.
func leniency(name string, field func(*Upstream) *caddy.Duration) upstreamOption {
	return upstreamOption{min: 1, max: 1, set: func(u *Upstream, args []string) error {
		d, err := parseDuration(args[0])
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if d == 0 {
			d = -1
		}
		*field(u) = d
		return nil
	}}
}

// count is an option with a number; 0 = no limit, which is -1 in JSON.
func count(field func(*Upstream) *int) upstreamOption {
	return upstreamOption{min: 1, max: 1, set: func(u *Upstream, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no number: want such as 5, or 0 for no limit", args[0])
		}
		if n == 0 {
			n = -1
		}
		*field(u) = int(n)
		return nil
	}}
}

// patience is an option with a duration that is not 0.
func patience(name string, field func(*Upstream) *caddy.Duration) upstreamOption {
	return upstreamOption{min: 1, max: 1, set: func(u *Upstream, args []string) error {
		d, err := parseDuration(args[0])
		if err == nil && d == 0 {
			err = fmt.Errorf("%q is no time to wait", args[0])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*field(u) = d
		return nil
	}}
}
