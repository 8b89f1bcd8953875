package upstream

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/flood"
	"github.com/pullgate/pullgate/internal/oci"
)

// start begins the span of an operation, with the provider of the span in ctx:
// Caddy's tracing sets no global one. Nothing is injected into requests, since
// trace identifiers are no business of a public registry.
func (c *Client) start(ctx context.Context, op operation) (context.Context, trace.Span) {
	tracer := trace.SpanFromContext(ctx).TracerProvider().Tracer("github.com/pullgate/pullgate/internal/upstream")
	return tracer.Start(ctx, "upstream "+op.op,
		trace.WithSpanKind(trace.SpanKindClient),
		trace.WithAttributes(
			attribute.String("registry_mirror.upstream", c.o.Name),
			attribute.String("registry_mirror.repository", op.repository),
			attribute.String("registry_mirror.reference", op.object),
		))
}

func recordError(span trace.Span, err *oci.Error) {
	span.SetAttributes(attribute.String("error.type", string(err.Class)))
	if err.Class != oci.ClassNotFound {
		span.SetStatus(codes.Error, err.Message)
	}
}

// troubleLines are the lines of each class of failure: the first one at once, and from then
// on how many there were each minute.
var troubleLines = flood.Rate{Burst: 1, Every: time.Minute}

// report logs a failed operation.
func (c *Client) report(ctx context.Context, op operation, err *oci.Error, attempts int, took time.Duration) {
	level := slog.LevelWarn
	switch err.Class {
	case oci.ClassNotFound, oci.ClassCanceled, oci.ClassBreaker: // the breaker has told
		level = slog.LevelDebug
	case oci.ClassDenied:
		level = slog.LevelError
	}
	if !c.o.Logger.Enabled(ctx, level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("upstream", c.o.Name), slog.String("op", op.op), slog.String("class", string(err.Class)),
		slog.String("repository", op.repository), slog.Int("status", err.UpstreamStatus),
		slog.Int("attempts", attempts), slog.Duration("duration", took),
		slog.String("reason", err.Message),
	}
	if err.Err != nil {
		attributes = append(attributes, slog.String("cause", err.Err.Error()))
	}
	c.o.Logger.LogAttrs(ctx, level, "upstream operation failed", attributes...)
}
