package upstream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	// body is that of a POST, which is not redirected.
	body string
	// stay returns a redirect to another origin instead of following it.
	stay bool
}

// answer is a response that somebody has to close.
type answer struct {
	*http.Response
	// url is where it came from; abroad says that a redirect has led away from
	// the origin that was asked.
	url    *url.URL
	abroad bool
}

// send sends a request and follows its redirects. They are followed by hand: Go's
// client would decide for itself which headers go along, and where to.
func (c *Client) send(ctx context.Context, e *endpoint, o outgoing) (*answer, error) {
	asked := originOf(o.url)
	at, abroad := o.url, false
	for hop := 0; ; hop++ {
		resp, err := c.roundTrip(ctx, e, o, at, abroad) //nolint:bodyclose // the answer closes it
		if err != nil {
			return nil, asFailure(ctx, at.Host, err)
		}
		a := &answer{Response: resp, url: at, abroad: abroad}
		next, err := c.redirect(ctx, e, o, a)
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
		at, abroad = next, abroad || leaves
	}
}

// redirect returns where an answer leads to; nil = it is the answer.
func (c *Client) redirect(ctx context.Context, e *endpoint, o outgoing, a *answer) (*url.URL, error) {
	switch a.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
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
	if err := checkURL(next); err != nil {
		return nil, refuse(oci.ClassRedirect, err.Error())
	}
	if a.url.Scheme == "https" && next.Scheme == "http" {
		return nil, refuse(oci.ClassRedirect, "it leaves TLS")
	}
	if originOf(next) != e.origin {
		if err := c.guard.literal(ctx, next); err != nil {
			return nil, refuse(oci.ClassForbidden, err.Error())
		}
	}
	return next, nil
}

func (c *Client) roundTrip(
	ctx context.Context, e *endpoint, o outgoing, at *url.URL, abroad bool,
) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, o.method, at.String(), strings.NewReader(o.body))
	if err != nil {
		return nil, &failure{class: oci.ClassRedirect, text: "the upstream leads to a URL that cannot be asked"}
	}
	if o.body == "" {
		r.Body, r.GetBody = http.NoBody, nil
	}
	if o.header != nil {
		r.Header = o.header.Clone()
	}
	r.Header.Set("User-Agent", c.o.UserAgent)
	r.Header.Set("Accept-Encoding", "identity")
	if o.authorization != "" && !abroad {
		r.Header.Set("Authorization", o.authorization)
	}
	transport := c.transports.abroad
	if originOf(at) == e.origin {
		transport = c.transports.home
	}
	r.Close = c.closed.Load()
	began := time.Now()
	resp, err := transport.RoundTrip(r)
	if c.closed.Load() {
		// A transport that gave out a connection keeps the ones that become
		// idle again, until it is told once more that it shall not.
		transport.CloseIdleConnections()
	}
	c.observe(ctx, o, resp, err, time.Since(began))
	if err != nil {
		return nil, err
	}
	if c.o.Received != nil {
		resp.Body = &countedBody{resp.Body, o.op, c.o.Received}
	}
	return resp, nil
}

func (c *Client) observe(ctx context.Context, o outgoing, resp *http.Response, err error, took time.Duration) {
	if c.o.Observe == nil {
		return
	}
	observation := Observation{Op: o.op, Duration: took}
	if err != nil {
		observation.Class = classOf(ctx, err)
		c.o.Observe(observation)
		return
	}
	observation.Status, observation.Class = resp.StatusCode, classOfStatus(resp.StatusCode)
	isChallenge := resp.StatusCode == http.StatusUnauthorized && o.authorization == "" && o.op != opToken
	if isChallenge || observation.Class == oci.ClassRedirect && resp.Header.Get("Location") != "" {
		observation.Class = oci.ClassNone
	}
	c.o.Observe(observation)
}

type countedBody struct {
	io.ReadCloser
	op       string
	received func(op string, n int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.received(b.op, int64(n))
	}
	return n, err
}

// drain closes the answer; a short rest is read so that the connection lives on.
func (a *answer) drain() {
	_, _ = io.CopyN(io.Discard, a.Body, maxErrorBody)
	_ = a.Body.Close()
}

// read returns the whole body, which must not be longer than limit, and closes it.
func (a *answer) read(ctx context.Context, limit int64) ([]byte, error) {
	defer a.Body.Close()
	if a.ContentLength > limit {
		return nil, &failure{
			class: oci.ClassLength, status: a.StatusCode,
			text: fmt.Sprintf("%s sends %d bytes, more than %d", a.url.Host, a.ContentLength, limit),
		}
	}
	raw, err := io.ReadAll(io.LimitReader(a.Body, limit+1))
	if err != nil {
		f := asFailure(ctx, a.url.Host, err)
		f.status = a.StatusCode
		return nil, f
	}
	if int64(len(raw)) > limit {
		return nil, &failure{
			class: oci.ClassLength, status: a.StatusCode,
			text: fmt.Sprintf("%s sends more than %d bytes", a.url.Host, limit),
		}
	}
	return raw, nil
}

// hasCode reports whether the body is an error document with the given code
// (distribution-spec, "Error Codes"). It reads the body.
func (a *answer) hasCode(code string) bool {
	var document struct {
		Errors []struct {
			Code string `json:"code"`
		} `json:"errors"`
	}
	raw, _ := io.ReadAll(io.LimitReader(a.Body, maxErrorBody))
	if json.Unmarshal(raw, &document) != nil {
		return false
	}
	for _, e := range document.Errors {
		if strings.EqualFold(e.Code, code) {
			return true
		}
	}
	return false
}
