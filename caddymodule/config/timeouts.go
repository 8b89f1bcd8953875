package config

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/upstream"
)

// Timeouts bound what an upstream may take of a client's time. A duration of 0
// is the default.
type Timeouts struct {
	// How long to wait for a connection, DNS included. Default: 5s.
	DialTimeout caddy.Duration `json:"dial_timeout,omitempty"`

	// How long to wait for a TLS handshake. Default: 5s.
	TLSTimeout caddy.Duration `json:"tls_timeout,omitempty"`

	// How long to wait for a token. Default: 5s.
	TokenTimeout caddy.Duration `json:"token_timeout,omitempty"`

	// How long to wait for the header of an answer. Default: 10s.
	ResponseHeaderTimeout caddy.Duration `json:"response_header_timeout,omitempty"`

	// How long to wait for the next byte of a blob, before the rest of it is
	// asked for again. Default: 30s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	// How long to try to get an answer, all URLs and tries together; for a blob
	// up to its first byte. Default: 9s, or 2s more than
	// response_header_timeout if that is longer than its own default.
	TryDuration caddy.Duration `json:"try_duration,omitempty"`

	// How long to try if there is an old answer to fall back to. Default: 3s.
	StaleTimeout caddy.Duration `json:"stale_timeout,omitempty"`
}

// fields returns the timeouts by their names in a configuration.
func (t *Timeouts) fields() map[string]*caddy.Duration {
	return map[string]*caddy.Duration{
		"dial_timeout": &t.DialTimeout, "tls_timeout": &t.TLSTimeout, "token_timeout": &t.TokenTimeout,
		"response_header_timeout": &t.ResponseHeaderTimeout, "read_timeout": &t.ReadTimeout,
		"try_duration": &t.TryDuration, "stale_timeout": &t.StaleTimeout,
	}
}

func (t *Timeouts) check() error {
	for name, d := range t.fields() {
		if *d < 0 {
			return fmt.Errorf("%s cannot be negative", name)
		}
	}
	return nil
}

// timeouts returns those of the client.
func (t *Timeouts) timeouts() upstream.Timeouts {
	return upstream.Timeouts{
		Dial:      time.Duration(t.DialTimeout),
		TLS:       time.Duration(t.TLSTimeout),
		Token:     time.Duration(t.TokenTimeout),
		Header:    time.Duration(t.ResponseHeaderTimeout),
		Idle:      time.Duration(t.ReadTimeout),
		Operation: time.Duration(t.TryDuration),
	}.WithDefaults()
}
