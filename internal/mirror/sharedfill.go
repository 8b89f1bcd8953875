package mirror

import (
	"context"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/known"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// sharedFill is a running fill, with what the policy decides and remembers of it. It is
// in Cache.fills from its making until its blob is in the store or cannot be, so that
// there is always one of the two to be found.
type sharedFill struct {
	*fill.Fill

	source  view // whose upstream is asked
	sharers sharers
	turn    *turn // of the client that started it
	span    trace.Span
	looked  atomic.Bool // for what else belongs to the image
}

// newFill makes the fill that a request in ctx needs. The caller starts run, and has a
// reference, unless the fill is ahead of the requests: then most says how many bytes it
// may have until a client asks for it, 0 = any number.
func newFill(ctx context.Context, source view, d digest.Digest, link storage.Link, most *int64) *sharedFill {
	s := &sharedFill{source: source}
	o := fill.Options{
		Downloads: &source.downloads, Digest: d, Scope: source.scope, Source: s, Policy: s,
		Size: known.SizeTold(d, link.Size), Proven: link.Proven, Known: link.Proven || link.Size >= 0,
		Parallel: source.Parallel, MaxFills: source.MaxFills,
		Log: source.Cache.log.With("upstream", source.Name, "repository", source.repository, "digest", d),
	}
	if most != nil {
		o.Ahead, o.Most = true, *most
		s.looked.Store(true)
	}
	if s.sizeInDoubt(d) {
		o.Size, o.Doubted = -1, true
	}
	// The fill outlives the request, so its span is a root of its own.
	spanned, span := tracer(ctx).Start(source.Cache.ctx, "mirror.fill", trace.WithNewRoot(),
		trace.WithLinks(trace.LinkFromContext(ctx)), source.about("digest", d.String()))
	s.span = span
	s.Fill = fill.New(spanned, o)
	return s
}

// sizeInDoubt reports whether the size that was told turned out to be wrong.
func (s *sharedFill) sizeInDoubt(d digest.Digest) bool {
	return s.source.remembered(s.source.key(kindSize, d.String()), false) != nil
}

// run downloads, verifies, stores, and takes the fill out of the cache.
func (s *sharedFill) run() {
	s.source.observe(s.event(false))
	s.Run(func(o fill.Outcome) {
		s.report(o)
		s.source.fills.release(s.source.fillKey(s.Digest))
		s.turn.end()
	})
}

// serves reports whether a scope may follow the fill without another question.
func (s *sharedFill) serves(scope oci.Scope) bool {
	return s.source.scope == scope || s.sharers.has(scope)
}

// Blob implements fill.Source.
func (s *sharedFill) Blob(ctx context.Context, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	return s.source.Remote.Blob(ctx, s.source.repository, d, offset, length)
}

// Part implements fill.Policy.
func (s *sharedFill) Part(ctx context.Context, size int64) (fill.Part, error) {
	return s.source.store.Begin(ctx, s.source.scope, s.Digest, size)
}

// Suspended implements fill.Policy.
func (s *sharedFill) Suspended(ctx context.Context) (size int64, ok bool) {
	size, ok = s.source.store.Suspended(ctx, s.source.scope, s.Digest)
	if s.sizeInDoubt(s.Digest) {
		size = -1
	}
	return size, ok
}

// Summon implements fill.Policy.
func (s *sharedFill) Summon() func(context.Context) bool {
	s.source.observe(s.event(true))
	mark := s.source.images.Mark()
	return func(ctx context.Context) bool { return summons{s.source, s.Digest}.send(ctx, mark) }
}

// Verified implements fill.Policy: it records whose the bytes are.
func (s *sharedFill) Verified(ctx context.Context, size int64) {
	ctx = context.WithoutCancel(ctx) // what was verified counts, also while the Cache closes
	d := oci.Descriptor{Digest: s.Digest, Size: size}
	s.source.proven(ctx, d)
	s.sharers.prove(ctx, d)
}

// Failed implements fill.Policy: it keeps the failure for the requests to come.
func (s *sharedFill) Failed(o fill.Outcome) {
	c, class := s.source.Cache, oci.ClassOf(o.Err)
	switch {
	case class == oci.ClassDigest && o.Resumed, o.Unread, o.Refused:
		// The next request begins anew, at once.
	case o.Guessed && (class == oci.ClassDigest || class == oci.ClassLength):
		// The hint may be to blame: the next fill finds the size out by itself.
		c.failures.put(s.source.key(kindSize, s.Digest.String()), oci.AsError(o.Err), c.now(), rememberSize)
	default:
		c.remember(s.source.key(kindBlob, s.Digest.String()), o.Err, false)
	}
}

// report tells the log, the span and the observer how the fill has ended.
func (s *sharedFill) report(o fill.Outcome) {
	e := s.event(false)
	e.Finished, e.Size, e.Bytes, e.Stored = true, o.Size, o.Received-o.SharedBytes, o.Stored()
	e.Class = oci.ClassOf(o.Err)
	result := "stored"
	switch {
	case o.Err != nil:
		result = "failed"
		if e.Class == oci.ClassNone {
			e.Class = oci.ClassStatus
		}
		s.logFailure(o, e.Class)
		s.span.SetStatus(codes.Error, string(e.Class))
		s.span.RecordError(o.Err)
	case o.Cause != nil:
		result = "passed"
		s.Log.Log(context.Background(), storage.LevelOf(o.Cause), "blob not stored", "error", o.Cause)
	}
	s.span.SetAttributes(attribute.Int64("bytes", o.Received), attribute.String("result", result))
	s.span.End()
	s.source.observe(e)
}

func (s *sharedFill) event(asking bool) FillEvent {
	return FillEvent{
		Upstream: s.source.Name, Repository: s.source.repository, Client: s.source.client, Ahead: s.Ahead, Asking: asking,
		Digest: s.Digest, Size: s.Size,
	}
}

func (s *sharedFill) logFailure(o fill.Outcome, class oci.Class) {
	switch {
	case class == oci.ClassNotFound:
		s.Log.Debug("no such blob")
	case class == oci.ClassBreaker:
		s.Log.Debug("fill not begun, the upstream is not asked")
	case class == oci.ClassCanceled:
		s.Log.Info("fill suspended", "bytes", o.Received, "size", o.Size)
	case o.Refused:
		s.Log.Debug("fill ahead stands back", "class", class, "bytes", o.Received, "size", o.Size)
	default:
		s.Log.Error("fill failed", "class", class, "bytes", o.Received, "size", o.Size, "error", o.Err)
	}
}
