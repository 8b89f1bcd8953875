package metrics

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream"
)

func TestLatencies(t *testing.T) {
	var l latencies
	want := func(name string, p50, p95 time.Duration) {
		t.Helper()
		if a, b := l.quantiles(name); a != p50 || b != p95 {
			t.Errorf("%s: %v and %v, want %v and %v", name, a, b, p50, p95)
		}
	}
	want("docker.io", 0, 0)
	l.add("docker.io", 7)
	want("docker.io", 7, 7)
	want("ghcr.io", 0, 0)
	for n := range time.Duration(recentRequests + 100) {
		l.add("ghcr.io", n+1)
	}
	// Of 101 to 356, the nearest ranks are 128 and 244.
	want("ghcr.io", 228, 344)
	if len(l.byName) != 2 {
		t.Errorf("%d upstreams are known", len(l.byName))
	}
}

// What the traffic tells are the requests to an upstream that were not given up.
func TestTrafficHasLatency(t *testing.T) {
	m := newMetrics()
	m.Received("docker.io")("", 1)
	for _, o := range []upstream.Observation{
		{Op: "get_blob", Duration: 100 * time.Millisecond},
		{Op: "token", Duration: time.Second, Class: oci.ClassTimeout},
		{Op: "get_blob", Duration: time.Hour, Class: oci.ClassCanceled},
	} {
		m.Requests("docker.io")(o)
	}
	if traffic := m.Traffic(); len(traffic) != 1 || traffic[0].P50 != .1 || traffic[0].P95 != 1 {
		t.Errorf("traffic is %+v", traffic)
	}
}
