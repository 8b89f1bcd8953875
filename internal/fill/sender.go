package fill

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/pace"
)

// errCrowded is why a GET was not sent, or is to be sent again: too many others are
// in flight at the upstream.
var errCrowded = errors.New("the upstream takes no more requests at a time")

// sender sends the GETs of one blob, each in its turn.
type sender struct {
	*Options

	party *pace.Party
	// known says that the upstream serves the repository, as far as is known here.
	known bool
	// shared is who else than the source has sent some of it last; see oci.BlobBody.
	shared atomic.Value
}

// request is one GET of a sender's: for the bytes [offset, offset+length), to the end if
// length is negative. One that is extra is not sent where there is no room. held says
// that a place is held for it. late, unless nil, ends the wait for the turn.
type request struct {
	offset, length int64
	extra, held    bool
	late           func() error
}

// get sends one GET once it is its turn, and returns the body, which ends in
// pace.ErrYielded if the connection was needed by others. An error that wraps errCrowded
// is of a refusal that is due to others of ours.
func (s *sender) get(ctx context.Context, g request) (oci.BlobBody, error) {
	v := &pace.Visit{Scope: s.Scope, Party: s.party, Extra: g.extra, Held: g.held}
	going, cancel := context.WithCancelCause(ctx)
	turn := s.crowds.Enter(v, cancel, s.Now())
	if turn == nil {
		cancel(nil)
		return oci.BlobBody{}, errCrowded
	}
	end := func(cut bool) {
		s.crowds.Leave(v, cut, s.Now())
		cancel(nil)
	}
	served, cut := false, false
	defer func() {
		if !served {
			end(cut)
		}
	}()
	if err := s.awaitTurn(going, turn, g.late); err != nil {
		return oci.BlobBody{}, err
	}
	cut = true // if the source panics
	body, err := s.Source.Blob(going, s.Digest, g.offset, g.length)
	if err != nil {
		err, cut = s.refused(going, v, err), going.Err() != nil
		return oci.BlobBody{}, err
	}
	served = true
	if body.Shared != "" { // it says nothing of the source, and takes no place there
		s.shared.Store(body.Shared)
		s.crowds.Leave(v, false, s.Now())
		body.ReadCloser = &visitBody{ReadCloser: body.ReadCloser, ctx: going, end: func(bool) { cancel(nil) }}
		return body, nil
	}
	s.crowds.Serve(v, s.Now())
	body.ReadCloser = &visitBody{ReadCloser: body.ReadCloser, ctx: going, end: end}
	return body, nil
}

// awaitTurn waits for the turn of a visit.
func (s *sender) awaitTurn(ctx context.Context, turn <-chan struct{}, late func() error) error {
	for {
		select {
		case <-turn:
			return nil
		default:
		}
		if late != nil {
			if err := late(); err != nil {
				return err
			}
		}
		select {
		case <-turn:
		case <-s.After(lookAgain):
			s.crowds.Look(s.Scope.Upstream, s.Now())
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refused tells the errors apart that a GET ends in.
func (s *sender) refused(ctx context.Context, v *pace.Visit, err error) error {
	if errors.Is(context.Cause(ctx), pace.ErrYielded) {
		return pace.ErrYielded
	}
	if refused, denied := refusal(err); refused && s.crowds.Refuse(v, denied, s.known, s.Now()) {
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
	if err != nil && errors.Is(context.Cause(b.ctx), pace.ErrYielded) {
		err = pace.ErrYielded
	}
	return n, err
}

func (b *visitBody) Close() error {
	err := b.ReadCloser.Close()
	b.end(!b.over)
	return err
}
