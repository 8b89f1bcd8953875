package upstream

import (
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Options make a Client. Only Name and URLs are required. They print as the
// name alone, whatever the verb, since a proxy's URL can hold a password.
type Options struct {
	// Name is the configured name; it stands in messages, spans and logs.
	Name string
	// URLs are where the registry answers, tried in order. The scheme is http
	// or https. A path is what /v2/ lies below, or, if it has a segment "v2"
	// itself, what the repositories lie below.
	URLs []*url.URL
	// Credentials is who to be, and URLCredentials who to be instead at single URLs, by
	// their String; the zero value is nobody. CredentialsFor tells who gets which.
	Credentials    Credentials
	URLCredentials map[string]Credentials
	// AuthOrigins are more origins, such as "https://auth.example.com", that may
	// see the credentials. Token servers there may be at private addresses. Well-known
	// pairs are built in; see internal/auth/hosts.go.
	AuthOrigins []string
	// Network says how the hosts are connected to.
	Network
	// UserAgent is sent with every request; default "pullgate".
	UserAgent string
	// Observe is called once for each HTTP request that was sent, when its
	// answer has begun or it has failed. Received is called for the bytes of
	// each body as they come. Both may be called from many goroutines.
	Observe  func(Observation)
	Received func(op string, n int64)
	// Logger gets one line per failed operation, at most one a second for each
	// class of failure; nil = none.
	Logger *slog.Logger
	// Now is the clock for tokens and Retry-After; nil = time.Now.
	Now func() time.Time
	// MaxFails is after how many failed tries in a row (no answer, or a 5xx) a URL
	// is not asked any more; default 5, negative = it is always asked. From then
	// on one try each FailDuration, and a little more at random, is let through,
	// until there is an answer; default 5 s.
	MaxFails     int
	FailDuration time.Duration
	// Timeouts replace the defaults where they are set.
	Timeouts Timeouts

	seams egress.Seams
}

// Network says how the hosts of an upstream are connected to.
type Network = egress.Network

// Observation tells of one HTTP request.
type Observation = wire.Observation

// Timeouts bound the parts of an operation. Zero values are the defaults.
type Timeouts struct {
	Dial   time.Duration // one connection; default 5 s
	TLS    time.Duration // one handshake; default 5 s
	Token  time.Duration // one token exchange; default 5 s
	Header time.Duration // from request to the header of its answer; default 10 s
	Idle   time.Duration // between two bytes of a body; default 30 s
	// Reused is how long the header of an answer may take on a connection that
	// has been used before, until the request is given up and sent again on one
	// that is known to be alive, which then has Header. It is what a connection
	// costs that was dropped silently. Default 2 s, at most half of Header.
	Reused time.Duration
	// Operation is how long everything of one operation may take together, all
	// URLs and tries; for blobs up to the beginning of the body. Default 9 s,
	// so that clients have an answer within 10 s; with a longer Header than the
	// default one, all of that after a wait of Reused.
	Operation time.Duration
	// Patience is how long a blob may take to begin in all at the last URL that is
	// left, if that answers a ping meanwhile: some registries fetch a blob as a whole
	// before they send its first byte. Header is no limit to that. Default 2 min; no
	// more than Operation = no longer than anything else.
	Patience time.Duration
}

const (
	defaultHeader    = 10 * time.Second
	defaultOperation = 9 * time.Second
)

// WithDefaults returns t with the defaults in place of what is not set.
func (t Timeouts) WithDefaults() Timeouts {
	if t.Operation <= 0 && t.Header > defaultHeader {
		t.Operation = t.Header + max(t.Reused, 2*time.Second)
	}
	for _, d := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&t.Dial, 5 * time.Second},
		{&t.TLS, 5 * time.Second},
		{&t.Token, 5 * time.Second},
		{&t.Header, defaultHeader},
		{&t.Idle, 30 * time.Second},
		{&t.Reused, 2 * time.Second},
		{&t.Operation, defaultOperation},
		{&t.Patience, 2 * time.Minute},
	} {
		if *d.value <= 0 {
			*d.value = d.fallback
		}
	}
	t.Reused = min(t.Reused, t.Header/2)
	return t
}

// Format implements fmt.Formatter.
func (o Options) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "upstream %s", o.Name) }

// LogValue implements slog.LogValuer.
func (o Options) LogValue() slog.Value { return slog.StringValue("upstream " + o.Name) }
