package mirror_test

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// The provider is that of the request's span. A fill has a trace of its own,
// linked to the requests that wait for it.
func TestSpans(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	image := f.upstream.PutImage(repository, "3", 1, 10)
	r := blobRequest(f.upstream.PutBlob(repository, registrytest.Random(1, 1000)))
	recorder := tracetest.NewSpanRecorder()
	provider := sdk.NewTracerProvider(sdk.WithSpanProcessor(recorder))
	ctx, request := provider.Tracer("test").Start(t.Context(), "request")
	if _, _, err := f.mirror.Manifest(ctx, manifestRequest(image.Tag)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.pull(ctx, r); err != nil {
		t.Fatal(err)
	}
	f.filled()
	request.End()
	spans := map[string]sdk.ReadOnlySpan{}
	for _, s := range recorder.Ended() {
		spans[s.Name()] = s
	}
	trace1 := request.SpanContext().TraceID()
	for _, name := range []string{"mirror.manifest", "mirror.blob"} {
		s := spans[name]
		if s == nil || s.SpanContext().TraceID() != trace1 || s.Parent().SpanID() != request.SpanContext().SpanID() {
			t.Errorf("%s is no child of the request: %v", name, s)
		}
	}
	fill := spans["mirror.fill"]
	if fill == nil || fill.Parent().IsValid() || fill.SpanContext().TraceID() == trace1 {
		t.Fatalf("the fill is no root: %v", fill)
	}
	if len(fill.Links()) != 1 || fill.Links()[0].SpanContext.SpanID() != spans["mirror.blob"].SpanContext().SpanID() {
		t.Errorf("links %v", fill.Links())
	}
	values := map[string]string{}
	for _, a := range fill.Attributes() {
		values[string(a.Key)] = a.Value.String()
	}
	if values["upstream"] != upstreamName || values["repository"] != repository || values["bytes"] != "1000" ||
		values["digest"] != r.Reference.Digest.String() || values["result"] != "stored" {
		t.Errorf("attributes %v", values)
	}
	if trace.SpanFromContext(t.Context()).IsRecording() {
		t.Error("a global provider is set")
	}
}
