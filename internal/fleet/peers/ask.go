package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// answerPatience is how long an answer about a manifest or a size may take, unless
	// Options say otherwise, and blobPatience how long until a blob begins: the owner may be
	// waiting for its upstream, and the client for us. It also ends what two gateways that
	// are full of downloads would wait for each other for.
	answerPatience = 5 * time.Second
	blobPatience   = 20 * time.Second
	maxDocument    = 64 << 10
)

var errLost = errors.New("the gateway is lost")

// IsAnswer reports whether an error that a Peer has returned is the upstream's own word.
// All others are no reason not to ask elsewhere.
func IsAnswer(err error) bool { return isWord(oci.ClassOf(err)) }

// Peer is a member that is asked about one upstream.
type Peer struct {
	*Member

	// Purge is the last purge that answers have to be newer than; empty = there was none.
	Purge string

	group    *Group
	identity string
}

// At returns a member as one to ask about the upstream with an identity.
func (g *Group) At(m *Member, identity string) Peer {
	return Peer{Member: m, group: g, identity: identity}
}

// request is what is asked of a member.
type request struct {
	method, repository, path string
	header                   http.Header
	patience                 time.Duration // until the header of the answer
}

// asked is an answer whose body is under way.
type asked struct {
	*http.Response

	end func()
}

// send asks, and returns an answer that is a success. It ends once the member is lost.
func (p Peer) send(ctx context.Context, q request) (*asked, error) {
	p.group.counts.asked.Add(1)
	a, err := p.try(ctx, q)
	if err != nil && !IsAnswer(err) && ctx.Err() == nil {
		p.group.counts.failed.Add(1)
		p.group.o.Logger.Debug("another gateway gives no answer", "member", p.id, "address", p.address,
			"upstream", p.identity, "repository", q.repository, "path", q.path, "error", err)
	}
	return a, err
}

func (p Peer) try(ctx context.Context, q request) (_ *asked, err error) {
	asking, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.lost, func() { cancel(errLost) })
	end := func() {
		stop()
		cancel(nil)
	}
	defer func() {
		if err != nil {
			end()
		}
	}()
	at := &url.URL{Scheme: "https", Host: p.address, Path: "/v2/" + q.repository + "/" + q.path}
	r, err := http.NewRequestWithContext(asking, q.method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, q.header)
	r.Header.Set(headerInstance, p.id)
	r.Header.Set(headerUpstream, p.identity)
	if p.Purge != "" {
		r.Header.Set(headerPurge, p.Purge)
	}
	late := time.AfterFunc(q.patience, func() { cancel(context.DeadlineExceeded) })
	response, err := p.group.transport.RoundTrip(r)
	if !late.Stop() && err == nil {
		_ = response.Body.Close()
		err = context.DeadlineExceeded
	}
	if err != nil {
		if cause := context.Cause(asking); cause != nil {
			err = cause
		}
		return nil, fmt.Errorf("ask gateway %s: %w", p.address, err)
	}
	a := &asked{response, end}
	if status := response.StatusCode; status != http.StatusOK && status != http.StatusPartialContent {
		defer response.Body.Close()
		return nil, p.refusal(a)
	}
	return a, nil
}

// refusal returns what an answer means that is no success.
func (p Peer) refusal(a *asked) error {
	class := oci.Class(a.Header.Get(headerClass))
	if !isWord(class) {
		return fmt.Errorf("ask gateway %s: status %s", p.address, a.Status)
	}
	var document struct {
		Errors []struct {
			Code    oci.Code
			Message string
		}
	}
	code, message := oci.CodeNameUnknown, "the upstream refuses it"
	if json.NewDecoder(io.LimitReader(a.Body, maxDocument)).Decode(&document) == nil && len(document.Errors) > 0 {
		code, message = document.Errors[0].Code, document.Errors[0].Message
	}
	e := oci.UpstreamError(class, code, message, nil)
	e.UpstreamStatus = a.StatusCode
	if seconds, err := strconv.Atoi(a.Header.Get("Retry-After")); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// greet asks an address who lives there.
func (g *Group) greet(ctx context.Context, address string) (greeting, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+alive, nil)
	if err != nil {
		return greeting{}, err
	}
	asked := time.Now()
	response, err := g.transport.RoundTrip(r)
	if err != nil {
		return greeting{}, err
	}
	defer response.Body.Close()
	answer := greeting{
		id: response.Header.Get(headerInstance), draining: response.StatusCode == http.StatusServiceUnavailable,
		version: response.Header.Get(headerVersion), ahead: ahead(response.Header.Get("Date"), asked, time.Now()),
	}
	if answer.id == "" || response.StatusCode != http.StatusOK && !answer.draining {
		return greeting{}, fmt.Errorf("no gateway: status %s", response.Status)
	}
	return answer, nil
}

// ahead returns by how much a clock is ahead of this one that has told a date, in whole
// seconds, between two moments of this one. What it may be off for another reason is none.
func ahead(date string, asked, answered time.Time) time.Duration {
	told, err := http.ParseTime(date)
	if err != nil {
		return 0
	}
	took := answered.Sub(asked)
	by := told.Add(time.Second / 2).Sub(asked.Add(took / 2).Round(0))
	if by.Abs() < time.Second+took/2 {
		return 0
	}
	return by.Round(time.Second)
}
