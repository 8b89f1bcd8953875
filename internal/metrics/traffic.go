package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// Traffic returns what was counted, by the name of the upstream.
func (m *Metrics) Traffic() []operate.Traffic {
	upstreams := make(map[string]*operate.Traffic)
	each := func(c prometheus.Collector, add func(t *operate.Traffic, labels map[string]string, n int64)) {
		values := make(chan prometheus.Metric)
		go func() {
			defer close(values)
			c.Collect(values)
		}()
		for value := range values {
			var m dto.Metric
			if value.Write(&m) != nil {
				continue
			}
			labels := make(map[string]string)
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			name := labels["upstream"]
			if name == "" {
				continue // nonsense
			}
			if upstreams[name] == nil {
				upstreams[name] = &operate.Traffic{Name: name}
			}
			add(upstreams[name], labels, int64(m.GetCounter().GetValue()))
		}
	}
	each(m.requests, func(t *operate.Traffic, labels map[string]string, n int64) {
		t.Requests += n
		switch labels["result"] {
		case string(oci.ResultHit):
			t.Hits += n
		case string(oci.ResultPrefetched):
			t.Prefetched += n
		case string(oci.ResultJoined):
			t.Joined += n
		case string(oci.ResultMiss):
			t.Misses += n
		case string(oci.ResultStale):
			t.Stale += n
		case "error", "aborted":
			t.Errors += n
		}
	})
	each(m.responseBytes, func(t *operate.Traffic, _ map[string]string, n int64) { t.Sent += n })
	each(m.upstreamBytes, func(t *operate.Traffic, _ map[string]string, n int64) { t.Received += n })
	each(m.preloaded, func(t *operate.Traffic, _ map[string]string, n int64) { t.Preloaded += n })
	sorted := make([]operate.Traffic, 0, len(upstreams))
	for name, t := range upstreams {
		p50, p95 := m.latencies.quantiles(name)
		t.P50, t.P95 = p50.Seconds(), p95.Seconds()
		sorted = append(sorted, *t)
	}
	slices.SortFunc(sorted, func(a, b operate.Traffic) int { return cmp.Compare(a.Name, b.Name) })
	return sorted
}
