package upstream

import (
	"context"
	"fmt"
	"testing"

	"go.opentelemetry.io/otel/trace"
	otel "go.opentelemetry.io/otel/trace/embedded"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// spans is a tracer provider that keeps the names of spans.
type spans struct {
	otel.TracerProvider
	names *[]string
}

func (s spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{names: s.names} }

type tracer struct {
	otel.Tracer
	names *[]string
}

func (s tracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	*s.names = append(*s.names, name)
	return ctx, trace.SpanFromContext(ctx)
}

type span struct {
	trace.Span
	provider trace.TracerProvider
}

func (s span) TracerProvider() trace.TracerProvider { return s.provider }

func TestSpanOfTheCallersProvider(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	c := newClient(t, s.URL())
	var names []string
	ctx := trace.ContextWithSpan(t.Context(), span{trace.SpanFromContext(context.Background()), spans{names: &names}})
	if _, err := c.Manifest(ctx, repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(names) != "[upstream get_manifest]" {
		t.Errorf("spans %q", names)
	}
	if h := s.Requests()[0].Header; h.Get("Traceparent")+h.Get("B3")+h.Get("Baggage") != "" {
		t.Errorf("headers %v", h)
	}
}
