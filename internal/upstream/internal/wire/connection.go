package wire

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/panics"
)

// roundTrip sends a request to one URL, twice at most.
//
// A load balancer or a NAT may have dropped a kept connection without a word;
// what is sent there vanishes. So on a connection that was used before, an
// answer has Timeouts.Reused to begin. Then the request is canceled and sent
// again, and the idle connections are closed first, since those that were idle
// for as long are likely to be lost too. What the second request gets is either
// new or has carried an answer since, so it may take all of the time that is
// left: an upstream that is slow is asked once more, but not made to fail.
func (s *Sender) roundTrip(ctx context.Context, o Request, at *url.URL, by egress.Leader) (*http.Response, error) {
	home := egress.OriginOf(at) == s.Origin
	by.Configured = by.Configured || home
	transport, proxied := s.Transports.To(at, home)
	if proxied && by.Configured { // what others lead to was checked where they did
		if err := s.Transports.Lead(at, by); err != nil {
			return nil, err
		}
	}
	whole := o.Op == OpGetBlob && o.Header.Get("Range") == ""
	once := func(patience time.Duration) (*http.Response, error) {
		var conn net.Conn
		connected := func(got httptrace.GotConnInfo) {
			conn = got.Conn
			if got.Reused && !proxied && s.Transports.Guard.Check(egress.AddrPortOf(conn), by) != nil {
				// It was made since somebody else led there. The transport finds it
				// closed, and makes one that is checked for this leader.
				_ = conn.Close()
			}
		}
		r, err := s.newRequest(by.With(ctx), o, at)
		if err != nil {
			return nil, err
		}
		limit := s.o.Header
		if whole {
			limit = 0 // the operation has a limit of its own
		}
		began := time.Now()
		resp, err := sendOnce(transport, r, patience, limit, connected)
		if err == nil {
			from := egress.AddrPortOf(conn)
			if proxied {
				from = egress.LiteralOf(at)
			}
			resp.Body = &Body{resp.Body, conn, from, o.Op, s.o.Received}
		}
		if s.closed.Load() {
			// A transport that gave out a connection keeps the ones that become
			// idle again, until it is told once more that it shall not.
			transport.CloseIdleConnections()
		}
		took := time.Since(began)
		if whole && err == nil && resp.StatusCode == http.StatusOK {
			s.slowness.Store(int64(took))
		}
		s.observe(ctx, o, resp, err, took)
		return resp, err
	}
	reused := s.o.Reused
	if whole {
		// Where each blob takes long, silence is no sign of a lost connection.
		reused = max(reused, 2*time.Duration(s.slowness.Load()))
	}
	resp, err := once(reused)
	if errors.Is(err, errSilent) {
		transport.CloseIdleConnections()
		resp, err = once(0)
	}
	return resp, err
}

func (s *Sender) newRequest(ctx context.Context, o Request, at *url.URL) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, o.Method, at.String(), strings.NewReader(o.Body))
	if err != nil {
		return nil, &Failure{Class: oci.ClassRedirect, Text: "the upstream leads to a URL that cannot be asked"}
	}
	if o.Body == "" {
		r.Body, r.GetBody = http.NoBody, nil
	}
	if o.Header != nil {
		r.Header = o.Header.Clone()
	}
	r.Header.Set("User-Agent", s.o.UserAgent)
	r.Header.Set("Accept-Encoding", "identity")
	if o.Authorization != "" {
		r.Header.Set("Authorization", o.Authorization)
	}
	r.Close = s.closed.Load()
	return r, nil
}

// noHeaderError is a request that got no answer in time.
type noHeaderError struct{}

func (noHeaderError) Error() string   { return "no answer began in time" }
func (noHeaderError) Timeout() bool   { return true }
func (noHeaderError) Temporary() bool { return true }

// deadlines cancel a request whose answer does not begin in time. Who is first, the
// answer or the end of a time, decides.
type deadlines struct {
	decided atomic.Bool
	cancel  context.CancelCauseFunc
}

// timer returns one that cancels the request with cause. It does not run yet.
func (d *deadlines) timer(cause error) *time.Timer {
	timer := time.AfterFunc(time.Hour, func() {
		if d.decided.CompareAndSwap(false, true) {
			d.cancel(cause)
		}
	})
	timer.Stop()
	return timer
}

// sendOnce sends a request, whose answer has to begin within limit of its end; 0 = there
// is no limit. It returns errSilent if the connection was used before and no answer began
// within patience; 0 = wait as long as on a new one. connected is called for each
// connection that is tried.
func sendOnce(
	t *http.Transport, r *http.Request, patience, limit time.Duration, connected func(httptrace.GotConnInfo),
) (*http.Response, error) {
	// The context outlives this because the body is read under it; it ends with
	// the operation's.
	ctx, cancel := context.WithCancelCause(r.Context())
	d := &deadlines{cancel: cancel}
	silent, late := d.timer(errSilent), d.timer(noHeaderError{})
	resp, err := t.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		// A transport that finds a kept connection closed goes on to another one, so
		// this can be called more than once.
		GotConn: func(got httptrace.GotConnInfo) {
			connected(got)
			if got.Reused && patience > 0 {
				silent.Reset(patience)
			} else {
				silent.Stop()
			}
		},
		WroteRequest: func(httptrace.WroteRequestInfo) {
			if limit > 0 {
				late.Reset(limit)
			}
		},
	})))
	silent.Stop()
	late.Stop()
	panics.Raise(err)
	if d.decided.CompareAndSwap(false, true) {
		return resp, err
	}
	if err == nil {
		_ = resp.Body.Close()
	}
	return nil, context.Cause(ctx)
}
