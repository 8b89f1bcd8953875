package wire

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
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

const (
	maxRedirects = 5
	maxErrorBody = 64 << 10
)

// Request is one request before its redirects.
type Request struct {
	Op, Method string
	Repository string // empty = it is about none
	URL        *url.URL
	Header     http.Header
	// Authorization is sent to the origin of url, until the first hop that
	// leaves it.
	Authorization string
	// abroad says that the url is one that a redirect has led to, and by, who leads to
	// the url.
	abroad bool
	By     egress.Leader
	// Body is that of a POST, which is not redirected.
	Body string
	// Stay returns a redirect to another origin instead of following it.
	Stay bool
}

// As returns the request with an authorization.
func (o Request) As(authorization string) Request {
	o.Authorization = authorization
	return o
}

// Elsewhere returns the request as it goes to where a redirect has led.
func (o Request) Elsewhere(a *Answer, authorization string) Request {
	o.URL, o.abroad, o.By, o.Authorization = a.URL, true, a.by, authorization
	return o
}

// Send sends a request and follows its redirects. They are followed by hand: Go's
// client would decide for itself which headers go along, and where to.
func (s *Sender) Send(ctx context.Context, o Request) (*Answer, error) {
	asked := egress.OriginOf(o.URL)
	at, abroad, by := o.URL, o.abroad, o.By
	for hop := 0; ; hop++ {
		resp, err := s.roundTrip(ctx, o, at, by) //nolint:bodyclose // the answer closes it
		if err != nil {
			f := AsFailure(ctx, at.Host, err)
			f.Abroad = abroad
			return nil, f
		}
		a := &Answer{Response: resp, URL: at, Abroad: abroad, by: by, From: resp.Body.(*Body).from}
		if hop > 0 && o.overdoes(a) {
			a.Drain()
			o.Authorization = ""
			continue
		}
		if o.strays(a) {
			return a, nil
		}
		next, err := s.redirect(o, a)
		if err != nil {
			a.Drain()
			return nil, err
		}
		if next == nil {
			return a, nil
		}
		leaves := egress.OriginOf(next) != asked
		if leaves && o.Stay {
			return a, nil
		}
		a.Drain()
		if hop == maxRedirects {
			return nil, &Failure{
				Class: oci.ClassRedirect, Status: resp.StatusCode,
				Text: fmt.Sprintf("%s redirects more than %d times", o.URL.Host, maxRedirects),
			}
		}
		at, abroad, by = next, abroad || leaves, s.Leader(a.From)
		if leaves {
			o.Authorization = ""
		}
	}
}

// overdoes reports whether an answer may be due to a token in place of none. A
// registry can redirect to a storage on its own host, whose URL is signed, and which
// refuses two ways to authenticate at once.
func (o Request) overdoes(a *Answer) bool {
	switch a.StatusCode {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden:
		return o.Authorization != "" && o.Op != OpToken && !strings.Contains(a.URL.Path, "/v2/")
	}
	return false
}

// strays reports whether a redirect of the referrers API leads to something that is
// none, such as a page for people. It is not followed.
func (o Request) strays(a *Answer) bool {
	if o.Op != OpReferrers || !IsRedirect(a.StatusCode) || a.Header.Get("Location") == "" ||
		path.Base(path.Dir(o.URL.Path)) != "referrers" { // else it is the tag that is asked for
		return false
	}
	to, _, _ := strings.Cut(a.Header.Get("Location"), "?")
	to = strings.ReplaceAll(strings.ToLower(to), "%3a", ":")
	return path.Base(to) != path.Base(o.URL.Path)
}

// IsRedirect reports whether a status is one that redirects are followed for.
func IsRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect returns where an answer leads to; nil = it is the answer.
func (s *Sender) redirect(o Request, a *Answer) (*url.URL, error) {
	if !IsRedirect(a.StatusCode) {
		return nil, nil
	}
	refuse := func(class oci.Class, why string) error {
		return &Failure{
			Class: class, Status: a.StatusCode,
			Text: a.URL.Host + " sends a redirect that is not followed: " + why,
		}
	}
	if o.Method == http.MethodPost {
		return nil, refuse(oci.ClassRedirect, "it would take a secret along")
	}
	next, err := a.URL.Parse(a.Header.Get("Location"))
	if err != nil || a.Header.Get("Location") == "" {
		return nil, refuse(oci.ClassRedirect, "its location is no URL")
	}
	next.Fragment, next.RawFragment, next.RawQuery = "", "", spelled(next.RawQuery)
	if next.RawQuery == "" && (o.Op == OpTags || o.Op == OpReferrers) {
		// registry.k8s.io and lscr.io drop it: each page would be the first one.
		next.RawQuery = a.URL.RawQuery
	}
	if err := egress.CheckURL(next); err != nil {
		return nil, refuse(oci.ClassRedirect, err.Error())
	}
	if a.URL.Scheme == "https" && next.Scheme == "http" {
		return nil, refuse(oci.ClassRedirect, "it leaves TLS")
	}
	if egress.OriginOf(next) != s.Origin {
		if err := s.Transports.Lead(next, s.Leader(a.From)); err != nil {
			return nil, refuse(oci.ClassForbidden, err.Error())
		}
	}
	return next, nil
}

// spelled returns a query as it can stand in a request. Some servers send file names in
// it as they are.
func spelled(query string) string {
	var b strings.Builder
	for _, c := range []byte(query) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"<>`, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func (s *Sender) observe(ctx context.Context, o Request, resp *http.Response, err error, took time.Duration) {
	if s.o.Observe == nil {
		return
	}
	observation := Observation{Op: o.Op, Repository: o.Repository, Duration: took}
	if err != nil {
		observation.Class = classOf(ctx, err)
		s.o.Observe(observation)
		return
	}
	observation.Status, observation.Class = resp.StatusCode, classOfStatus(resp.StatusCode)
	isChallenge := resp.StatusCode == http.StatusUnauthorized && o.Authorization == "" && o.Op != OpToken
	isPart := resp.StatusCode == http.StatusPartialContent && o.Header.Get("Range") != ""
	if isChallenge || isPart || IsRedirect(resp.StatusCode) && resp.Header.Get("Location") != "" {
		observation.Class = oci.ClassNone
	}
	s.o.Observe(observation)
}

// Body is the body of an answer, the connection that it comes in over, and the
// address that it comes from; zero = only a proxy knows.
type Body struct {
	io.ReadCloser
	conn     net.Conn
	from     netip.AddrPort
	op       string
	received func(op string, n int64) // nil = nobody asks
}

// Queued returns how many bytes have come in that nobody has read yet.
func (b *Body) Queued() int64 { return queued(b.conn) }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.received != nil {
		b.received(b.op, int64(n))
	}
	return n, err
}
