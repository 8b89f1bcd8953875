package upstream

import (
	"context"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// kind is what an operation is about, for everything that a registry may refuse or
// fail at by itself: its state is kept for each.
type kind int

// The kinds.
const (
	manifests kind = iota
	blobs
	lists // of tags and of referrers
	kinds
)

const (
	maxTries   = 3
	retryDelay = 100 * time.Millisecond // doubled each time, and as much again at random
)

// operation is what one method of Client asks for, whichever URL answers.
type operation struct {
	op         string
	kind       kind
	repository string
	object     string // the tag or digest; for spans
	unknown    oci.Code
	at         string // the URL of the only endpoint that is asked; "" = any
}

// each runs an operation against the endpoints until one answers.
// The error is an *oci.Error: not found if that is what all of them said.
func each[T any](
	ctx context.Context, c *Client, op operation, try func(context.Context, *visit) (T, error),
) (T, error) {
	var zero T
	if err := oci.CheckRepository(op.repository); err != nil {
		return zero, err
	}
	ctx, span := c.start(ctx, op)
	defer span.End()
	began := time.Now()
	deadline := began.Add(c.o.Timeouts.Operation)
	var missing, failed, refused *wire.Failure
	c.retries.ask(c.o.Now())
	endpoints := op.among(c.inOrder())
	for i, e := range endpoints {
		// What is left of the time is shared, so that an endpoint that swallows
		// packets does not use up the turn of the next.
		sharers := 1 + countReady(endpoints[i+1:], op.kind)
		wait, ok := e.breaker.admit(op.kind)
		if !ok {
			refused = sooner(refused, e.refused(wait))
			continue
		}
		value, err := within(ctx, time.Until(deadline)/time.Duration(sharers), func(ctx context.Context, l *lease) (T, error) {
			l.last = sharers == 1
			return persist(ctx, c.visit(e, op, l), try)
		})
		if err == nil {
			return value, nil
		}
		f := wire.AsFailure(ctx, e.base.Host, err)
		if f.Class == oci.ClassNotFound {
			missing = f
			continue
		}
		failed = f
		if f.Class == oci.ClassCanceled || ctx.Err() != nil {
			break
		}
		switch f.Class {
		case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout:
			e.down.begin(c.o.Now(), downFor)
		}
	}
	switch {
	case failed != nil:
	case refused != nil:
		failed = refused // who was not asked may have what the others miss
	default:
		failed = missing
	}
	err := op.errorOf(failed)
	recordError(span, err)
	if !failed.Crowded { // then it is asked again, and who gives up tells
		c.report(ctx, op, err, failed.Attempts, time.Since(began))
	}
	return zero, err
}

// countReady returns how many endpoints would be asked now.
func countReady(endpoints []*endpoint, of kind) (n int) {
	for _, e := range endpoints {
		if e.breaker.ready(of) {
			n++
		}
	}
	return n
}

// refused is the failure of who was not asked.
func (e *endpoint) refused(wait time.Duration) *wire.Failure {
	return &wire.Failure{
		Class: oci.ClassBreaker, RetryAfter: wait, Unasked: true,
		Text: e.base.Host + " has failed too often in a row, and is not asked for a moment",
	}
}

// sooner returns the failure that is over first.
func sooner(a, b *wire.Failure) *wire.Failure {
	if a != nil && a.RetryAfter <= b.RetryAfter {
		return a
	}
	return b
}

// persist tries one endpoint, which its breaker has admitted, and again where
// that may help soon.
func persist[T any](
	ctx context.Context, v *visit, try func(context.Context, *visit) (T, error),
) (T, error) {
	b := v.e.breaker
	for n := 1; ; n++ {
		began := time.Now()
		value, err := try(ctx, v)
		took := time.Since(began)
		if err == nil {
			v.record(ctx, nil, took)
			return value, nil
		}
		// One that is shared, as of a token that others wait for too, stays as it is.
		own := *wire.AsFailure(ctx, v.e.base.Host, err)
		f := &own
		f.Attempts = n
		v.record(ctx, f, took)
		if !f.Again || n == maxTries || !b.ready(v.kind) || !v.c.retries.spend(v.c.o.Now()) {
			return value, f
		}
		delay := retryDelay<<(n-1) + rand.N(retryDelay)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return value, f
		}
		if _, ok := b.admit(v.kind); !ok {
			return value, f
		}
		v.session.Again()
	}
}

// errorOf returns what callers get for a failure.
func (op operation) errorOf(f *wire.Failure) *oci.Error {
	unknown := op.unknown
	if f.RepositoryUnknown && op.op != wire.OpReferrers {
		unknown = oci.CodeNameUnknown
	}
	err := oci.UpstreamError(f.Class, unknown, f.Text, f.Err)
	err.UpstreamStatus, err.RetryAfter = f.Status, f.RetryAfter
	if f.Class == oci.ClassToken && f.Status >= http.StatusBadRequest && f.Status < http.StatusInternalServerError {
		// Google's answers 404 for a repository that there is none of, or none for this user.
		err.Code, err.Status = oci.CodeDenied, http.StatusForbidden
	}
	return err
}
