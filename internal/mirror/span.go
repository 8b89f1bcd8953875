package mirror

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/oci"
)

const tracerName = "github.com/pullgate/pullgate/internal/mirror"

// tracer comes from the span in ctx: Caddy sets no global provider. Without a
// span it costs nothing and records nothing.
func tracer(ctx context.Context) trace.Tracer {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(tracerName)
}

func startSpan(ctx context.Context, name string, v view, reference string) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return tracer(ctx).Start(ctx, name, v.about("reference", reference))
}

// about is what spans tell of a request.
func (v view) about(key, value string) trace.SpanStartEventOption {
	return trace.WithAttributes(attribute.String("upstream", v.Name), attribute.String("repository", v.repository), attribute.String(key, value))
}

// answered ends the span of a request and logs what an operator may have to act
// upon. It returns the error as the client gets it.
func (m *Mirror) answered(ctx context.Context, span trace.Span, v view, r oci.Request, status oci.CacheStatus, err error) error {
	if span.IsRecording() {
		span.SetAttributes(attribute.String("result", string(status.Result)))
		if err != nil {
			span.SetStatus(codes.Error, string(oci.ClassOf(err)))
			span.RecordError(err)
		}
	}
	span.End()
	if status.Result == oci.ResultStale && status.Detail != string(oci.ClassNotFound) { // which was told once
		m.log.WarnContext(ctx, "serving stale", "upstream", v.Name, "repository", v.repository,
			"kind", r.Kind, "reference", r.Reference.String(), "class", status.Detail)
	}
	return v.refusal(r, err)
}

// refusal makes the error name what this client has asked for. The cause may have
// been met by somebody else, who asked for something else.
func (v view) refusal(r oci.Request, err error) error {
	e, ok := errors.AsType[*oci.Error](err)
	if !ok {
		return err
	}
	object := v.Name + "/" + v.repository
	switch {
	case r.Kind == oci.KindTags:
		object = "tags of " + object
	case r.Kind == oci.KindReferrers:
		object = "referrers of " + object + "@" + r.Reference.String()
	case r.Reference.IsDigest():
		object += "@" + r.Reference.String()
	default:
		object += ":" + r.Reference.String()
	}
	told := *e
	told.Message = object + ": " + e.Message
	return &told
}

// failed is the status beside an error that a question to the upstream ended in.
func failed(led bool, err error) oci.CacheStatus {
	status, e := answered(led, false), oci.AsError(err)
	status.ForwardStatus = e.UpstreamStatus
	if e.Class != oci.ClassNotFound && e.Class != oci.ClassDenied {
		status.Detail = string(e.Class)
	}
	return status
}

// negative is the status of an answer from the memory of failures.
func negative() oci.CacheStatus {
	return oci.CacheStatus{Result: oci.ResultHit, Detail: "negative"}
}

// merge is the status of an answer that took two steps.
func merge(a, b oci.CacheStatus) oci.CacheStatus {
	rank := map[oci.Result]int{oci.ResultHit: 0, oci.ResultStale: 1, oci.ResultJoined: 2, oci.ResultMiss: 3}
	first, second := a, b
	if rank[b.Result] > rank[a.Result] {
		first, second = b, a
	}
	first.Stored = a.Stored || b.Stored
	if first.Fresh == nil {
		first.Fresh, first.Age = second.Fresh, second.Age
	}
	return first
}
