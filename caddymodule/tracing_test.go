package caddymodule

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestTracing pulls under Caddy's tracing directive and reads what an OTLP
// receiver gets: the request, the mirror below it, the upstream below that, and
// a fill with a trace of its own that is linked to the request. The upstream
// gets no trace identifiers.
func TestTracing(t *testing.T) {
	receiver := newReceiver(t)
	t.Setenv("OTEL_TRACES_EXPORTER", "otlp")
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL)
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 10, 2<<20)
	s := newSite(t)
	s.load("tracing {\nspan pull\n}\nregistry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\nlook_ahead off\n}\n}")
	s.client().pull("/v2/proxy-docker.io", image)
	// The provider sends what it has when the last configuration goes.
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	spans := receiver.received()
	byID := map[string]*trace.Span{}
	for _, span := range spans {
		byID[string(span.SpanId)] = span
	}
	for _, chain := range [][]string{
		{"upstream get_manifest", "mirror.manifest", "pull"},
		{"mirror.blob", "pull"},
		{"upstream get_blob", "mirror.fill"},
	} {
		if !hasChain(spans, byID, chain) {
			t.Errorf("no spans %v, innermost first, among %v", chain, spanNames(spans))
		}
	}
	fills := 0
	for _, span := range spans {
		if span.Name != "mirror.fill" {
			continue
		}
		fills++
		if len(span.ParentSpanId) != 0 || len(span.Links) == 0 {
			t.Errorf("fill has parent %x and %d links, want none and at least one", span.ParentSpanId, len(span.Links))
			continue
		}
		if leader := byID[string(span.Links[0].SpanId)]; leader == nil || bytes.Equal(leader.TraceId, span.TraceId) {
			t.Errorf("fill is linked to no span of a request: %v", span.Links[0])
		}
	}
	if fills != 2 {
		t.Errorf("%d fills have a span, want 2", fills)
	}
	for _, r := range upstream.Requests() {
		if r.Header.Get("Traceparent") != "" || r.Header.Get("Baggage") != "" {
			t.Errorf("the upstream gets trace identifiers: %v %v", r, r.Header)
		}
	}
}

// hasChain reports whether there is a span for each name, each the parent of the
// one before.
func hasChain(spans []*trace.Span, byID map[string]*trace.Span, names []string) bool {
	for _, span := range spans {
		at := span
		i := 0
		for at != nil && i < len(names) && at.Name == names[i] {
			at = byID[string(at.ParentSpanId)]
			i++
		}
		if i == len(names) {
			return true
		}
	}
	return false
}

func spanNames(spans []*trace.Span) (names []string) {
	for _, span := range spans {
		names = append(names, span.Name)
	}
	return names
}

// receiver takes spans as an OpenTelemetry collector does.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	spans []*trace.Span
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := new(receiver)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		raw, err := io.ReadAll(request.Body)
		var export collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(raw, &export)
		}
		if err != nil {
			t.Errorf("receive %s: %v", request.URL.Path, err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, resource := range export.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				r.spans = append(r.spans, scope.Spans...)
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) received() []*trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans
}
