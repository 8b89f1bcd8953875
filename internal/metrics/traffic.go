package caddymodule

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pullgate/pullgate/internal/oci"
)

// trafficStatus is what was asked for of an upstream since the process began, as the
// admin API shows it.
type trafficStatus struct {
	Name     string `json:"name"`
	Requests int64  `json:"requests"`
	// Hits were answered from the cache, Joined by a download that was running
	// already, Misses by asking the upstream, and Stale from the cache as that failed.
	Hits   int64 `json:"hits"`
	Joined int64 `json:"joined"`
	Misses int64 `json:"misses"`
	Stale  int64 `json:"stale"`
	// Errors were answered with 5xx, or cut.
	Errors int64 `json:"errors"`
	// Sent are the bytes of bodies to clients, Received those from the upstream.
	Sent     int64 `json:"sent_bytes"`
	Received int64 `json:"received_bytes"`
}

// hitRate is the share of what could be answered that did not need the upstream, and
// whether there was anything.
func (t trafficStatus) hitRate() (share float64, ok bool) {
	all := t.Hits + t.Joined + t.Misses + t.Stale
	return float64(t.Hits+t.Joined+t.Stale) / float64(max(all, 1)), all > 0
}

// trafficStatuses reads the metrics, by the name of the upstream.
func trafficStatuses() []trafficStatus {
	upstreams := make(map[string]*trafficStatus)
	each := func(c prometheus.Collector, add func(t *trafficStatus, labels map[string]string, n int64)) {
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
				continue // a ping, or nonsense
			}
			if upstreams[name] == nil {
				upstreams[name] = &trafficStatus{Name: name}
			}
			add(upstreams[name], labels, int64(m.GetCounter().GetValue()))
		}
	}
	each(metrics.requests, func(t *trafficStatus, labels map[string]string, n int64) {
		if labels["kind"] == string(oci.KindPing) {
			return
		}
		t.Requests += n
		switch labels["result"] {
		case string(oci.ResultHit):
			t.Hits += n
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
	each(metrics.responseBytes, func(t *trafficStatus, _ map[string]string, n int64) { t.Sent += n })
	each(metrics.upstreamBytes, func(t *trafficStatus, _ map[string]string, n int64) { t.Received += n })
	all := make([]trafficStatus, 0, len(upstreams))
	for _, t := range upstreams {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b trafficStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all
}
