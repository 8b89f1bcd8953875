package mirror

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// errCrowded is why a GET was not sent, or is to be sent again: too many others are
// in flight at the upstream.
var errCrowded = errors.New("the upstream takes no more requests at a time")

// caller sends the GETs of one blob, each in its turn.
type caller struct {
	view

	digest digest.Digest
	party  *party
	// known says that the upstream serves the repository, as far as is known here.
	known bool
}

// call is one GET of a caller's: for the bytes [offset, offset+length), to the end if
// length is negative. One that is extra is not sent where there is no room. held says
// that a place is held for it. late, unless nil, ends the wait for the turn.
type call struct {
	offset, length int64
	extra, held    bool
	late           func() error
}

// get sends one GET once it is its turn, and returns the body, which ends in
// errYielded if the connection was needed by others. An error that wraps errCrowded
// is of a refusal that is due to others of ours.
func (c *caller) get(ctx context.Context, g call) (oci.BlobBody, error) {
	v := &visit{upstream: c.Identity, scope: c.scope, party: c.party, extra: g.extra, held: g.held}
	going, cancel := context.WithCancelCause(ctx)
	if !c.crowds.enter(v, cancel, c.now()) {
		cancel(nil)
		return oci.BlobBody{}, errCrowded
	}
	end := func(cut bool) {
		c.crowds.leave(v, cut, c.now())
		cancel(nil)
	}
	if err := c.awaitVisit(going, v, g.late); err != nil {
		end(false)
		return oci.BlobBody{}, err
	}
	body, err := c.Remote.Blob(going, c.repository, c.digest, g.offset, g.length)
	if err != nil {
		err = c.refused(going, v, err)
		end(going.Err() != nil)
		return oci.BlobBody{}, err
	}
	c.crowds.serve(v, c.now())
	body.ReadCloser = &visitBody{ReadCloser: body.ReadCloser, ctx: going, end: end}
	return body, nil
}

// awaitVisit waits for the turn of a visit.
func (c *caller) awaitVisit(ctx context.Context, v *visit, late func() error) error {
	for {
		select {
		case <-v.turn:
			return nil
		default:
		}
		if late != nil {
			if err := late(); err != nil {
				return err
			}
		}
		select {
		case <-v.turn:
		case <-c.after(lookAgain):
			c.crowds.look(v.upstream, c.now())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refused tells the errors apart that a GET ends in.
func (c *caller) refused(ctx context.Context, v *visit, err error) error {
	if errors.Is(context.Cause(ctx), errYielded) {
		return errYielded
	}
	if refused, denied := refusal(err); refused && c.crowds.refuse(v, denied, c.known, c.now()) {
		return &crowdError{err}
	}
	return err
}

// refusal reports whether an error is an answer by which upstreams refuse one request
// more than they like to have at a time, and whether it is one that they also deny
// access with.
func refusal(err error) (refused, denied bool) {
	switch e := oci.AsError(err); e.UpstreamStatus {
	case http.StatusForbidden:
		return true, true
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true, false
	default:
		return e.Class == oci.ClassRateLimited, false
	}
}

// crowdError is the refusal that is due to others.
type crowdError struct{ refusal error }

func (e *crowdError) Error() string { return e.refusal.Error() }

func (e *crowdError) Unwrap() error { return e.refusal }

func (e *crowdError) Is(target error) bool { return target == errCrowded }

// visitBody is the body of a visit, which ends with it.
type visitBody struct {
	io.ReadCloser

	ctx  context.Context
	end  func(cut bool)
	over bool // the upstream has ended it
}

func (b *visitBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.over = err != nil && b.ctx.Err() == nil
	if err != nil && errors.Is(context.Cause(b.ctx), errYielded) {
		err = errYielded
	}
	return n, err
}

func (b *visitBody) Close() error {
	err := b.ReadCloser.Close()
	b.end(!b.over)
	return err
}
