package upstream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	maxRedirects   = 5
	maxErrorBody   = 64 << 10
	maxTokenAnswer = 64 << 10
)

// outgoing is one request before its redirects.
type outgoing struct {
	op, method string
	url        *url.URL
	header     http.Header
	// authorization is sent to the origin of url, until the first hop that
	// leaves it.
	authorization string
	// abroad says that the url is one that a redirect has led to, and by, who leads to
	// the url.
	abroad bool
	by     leader
	// body is that of a POST, which is not redirected.
	body string
	// stay returns a redirect to another origin instead of following it.
	stay bool
}

// as returns the request with an authorization.
func (o outgoing) as(authorization string) outgoing {
	o.authorization = authorization
	return o
}

// elsewhere returns the request as it goes to where a redirect has led.
func (o outgoing) elsewhere(a *answer, authorization string) outgoing {
	o.url, o.abroad, o.by, o.authorization = a.url, true, a.by, authorization
	return o
}

// send sends a request and follows its redirects. They are followed by hand: Go's
// client would decide for itself which headers go along, and where to.
func (s *sender) send(ctx context.Context, o outgoing) (*answer, error) {
	asked := originOf(o.url)
	at, abroad, by := o.url, o.abroad, o.by
	for hop := 0; ; hop++ {
		resp, err := s.roundTrip(ctx, o, at, by) //nolint:bodyclose // the answer closes it
		if err != nil {
			f := asFailure(ctx, at.Host, err)
			f.abroad = abroad
			return nil, f
		}
		a := &answer{Response: resp, url: at, abroad: abroad, by: by, from: resp.Body.(*arriving).from}
		if hop > 0 && o.overdoes(a) {
			a.drain()
			o.authorization = ""
			continue
		}
		if o.strays(a) {
			return a, nil
		}
		next, err := s.redirect(o, a)
		if err != nil {
			a.drain()
			return nil, err
		}
		if next == nil {
			return a, nil
		}
		leaves := originOf(next) != asked
		if leaves && o.stay {
			return a, nil
		}
		a.drain()
		if hop == maxRedirects {
			return nil, &failure{
				class: oci.ClassRedirect, status: resp.StatusCode,
				text: fmt.Sprintf("%s redirects more than %d times", o.url.Host, maxRedirects),
			}
		}
		at, abroad, by = next, abroad || leaves, s.leader(a.from)
		if leaves {
			o.authorization = ""
		}
	}
}

// overdoes reports whether an answer may be due to a token in place of none. A
// registry can redirect to a storage on its own host, whose URL is signed, and which
// refuses two ways to authenticate at once.
func (o outgoing) overdoes(a *answer) bool {
	switch a.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return o.authorization != "" && o.op != opToken && !strings.Contains(a.url.Path, "/v2/")
	}
	return false
}

// strays reports whether a redirect of the referrers API leads to something that is
// none, such as a page for people. It is not followed.
func (o outgoing) strays(a *answer) bool {
	if o.op != opReferrers || !isRedirect(a.StatusCode) || a.Header.Get("Location") == "" ||
		path.Base(path.Dir(o.url.Path)) != "referrers" { // else it is the tag that is asked for
		return false
	}
	to, _, _ := strings.Cut(a.Header.Get("Location"), "?")
	to = strings.ReplaceAll(strings.ToLower(to), "%3a", ":")
	return path.Base(to) != path.Base(o.url.Path)
}

// isRedirect reports whether a status is one that redirects are followed for.
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect returns where an answer leads to; nil = it is the answer.
func (s *sender) redirect(o outgoing, a *answer) (*url.URL, error) {
	if !isRedirect(a.StatusCode) {
		return nil, nil
	}
	refuse := func(class oci.Class, why string) error {
		return &failure{
			class: class, status: a.StatusCode,
			text: a.url.Host + " sends a redirect that is not followed: " + why,
		}
	}
	if o.method == http.MethodPost {
		return nil, refuse(oci.ClassRedirect, "it would take a secret along")
	}
	next, err := a.url.Parse(a.Header.Get("Location"))
	if err != nil || a.Header.Get("Location") == "" {
		return nil, refuse(oci.ClassRedirect, "its location is no URL")
	}
	next.Fragment, next.RawFragment = "", ""
	if next.RawQuery == "" && (o.op == opTags || o.op == opReferrers) {
		// registry.k8s.io and lscr.io drop it: each page would be the first one.
		next.RawQuery = a.url.RawQuery
	}
	if err := checkURL(next); err != nil {
		return nil, refuse(oci.ClassRedirect, err.Error())
	}
	if a.url.Scheme == "https" && next.Scheme == "http" {
		return nil, refuse(oci.ClassRedirect, "it leaves TLS")
	}
	if originOf(next) != s.origin {
		if err := s.transports.lead(next, s.leader(a.from)); err != nil {
			return nil, refuse(oci.ClassForbidden, err.Error())
		}
	}
	return next, nil
}

func (s *sender) observe(ctx context.Context, o outgoing, resp *http.Response, err error, took time.Duration) {
	if s.o.Observe == nil {
		return
	}
	observation := Observation{Op: o.op, Duration: took}
	if err != nil {
		observation.Class = classOf(ctx, err)
		s.o.Observe(observation)
		return
	}
	observation.Status, observation.Class = resp.StatusCode, classOfStatus(resp.StatusCode)
	isChallenge := resp.StatusCode == http.StatusUnauthorized && o.authorization == "" && o.op != opToken
	isPart := resp.StatusCode == http.StatusPartialContent && o.header.Get("Range") != ""
	if isChallenge || isPart || isRedirect(resp.StatusCode) && resp.Header.Get("Location") != "" {
		observation.Class = oci.ClassNone
	}
	s.o.Observe(observation)
}

// arriving is the body of an answer, the connection that it comes in over, and the
// address that it comes from; zero = only a proxy knows.
type arriving struct {
	io.ReadCloser
	conn     net.Conn
	from     netip.AddrPort
	op       string
	received func(op string, n int64) // nil = nobody asks
}

// queued returns how many bytes have come in that nobody has read yet.
func (b *arriving) queued() int64 { return queued(b.conn) }

func (b *arriving) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.received != nil {
		b.received(b.op, int64(n))
	}
	return n, err
}
