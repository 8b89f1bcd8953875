package metrics

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/upstream"
)

func newMetrics() *Metrics {
	return New(Options{
		Stores: func() []operate.StoreStatus {
			one := operate.StoreStatus{}
			one.Upstreams = map[string]int64{"docker.io": 3}
			one.BlobBytes, one.Stats.Fills = 3, 2
			return []operate.StoreStatus{one, one}
		},
		Upstreams: func() []operate.UpstreamStatus {
			return []operate.UpstreamStatus{{
				Name: "docker.io", URL: "https://registry-1.docker.io", State: "down", Breaker: operate.BreakerOpen,
				RateLimit: &operate.RateLimit{Remaining: 76, Limit: 100, Reset: time.Unix(1_800_000_000, 0)},
			}}
		},
		Panicked: func(p any) { panic(p) },
	})
}

// The page on monitoring lists every metric, with its labels, and none that there is not.
func TestDocsListMetrics(t *testing.T) {
	raw, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(raw), "| `caddy_registry_mirror_…` | |\n")
	rows, _, _ = strings.Cut(rows, "\n\n")
	var listed, want []string
	for row := range strings.Lines(rows) {
		names, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(names, -1) {
			listed = append(listed, name[1])
		}
	}
	for _, m := range Table() {
		name := m.Name
		if len(m.Labels) > 0 {
			name += "{" + strings.Join(m.Labels, ",") + "}"
		}
		want = append(want, name)
	}
	slices.Sort(listed)
	slices.Sort(want)
	if !slices.Equal(listed, want) {
		t.Errorf("the page lists\n%s\nand there are\n%s", strings.Join(listed, "\n"), strings.Join(want, "\n"))
	}
}

// What is exposed is what the table says; and it may be registered twice.
func TestTableIsExposed(t *testing.T) {
	m := newMetrics()
	m.Answer(nil, &registry.Answer{Request: oci.Request{Upstream: "docker.io", Kind: oci.KindBlob}, Status: 200, Cache: oci.CacheStatus{Result: oci.ResultStale, Detail: "timeout"}})
	m.Answer(nil, &registry.Answer{Request: oci.Request{Upstream: "docker.io", Kind: oci.KindBlob}, Status: 307, Redirected: 9, Cache: oci.CacheStatus{Result: oci.ResultMiss}})
	m.Requests("docker.io")(upstream.Observation{Op: "blob"})
	m.Received("docker.io")("blob", 7)
	m.Fill(mirror.FillEvent{Upstream: "docker.io", Finished: true, Bytes: 5})
	m.Pull(operate.Pull{PullSubject: operate.PullSubject{Upstream: "docker.io"}, Result: operate.PullOK, Cache: "prefetched"})
	m.Answer(nil, &registry.Answer{Request: oci.Request{Upstream: "docker.io", Kind: oci.KindPing}, Status: 200})
	to := prometheus.NewRegistry()
	for range 2 {
		if err := m.Register(to); err != nil {
			t.Fatal(err)
		}
	}
	families, err := to.Gather()
	if err != nil {
		t.Fatal(err)
	}
	exposed := map[string]float64{}
	for _, f := range families {
		one := f.GetMetric()[0]
		exposed[strings.TrimPrefix(f.GetName(), "caddy_registry_mirror_")] = one.GetCounter().GetValue() + one.GetGauge().GetValue()
	}
	for name, want := range map[string]float64{"cache_bytes": 6, "fills_running": 4, "cache_upstream_bytes": 6, "breaker_state": 2, "fills_total": 1, "redirected_bytes_total": 9} {
		if exposed[name] != want {
			t.Errorf("%s is %g, want %g", name, exposed[name], want)
		}
	}
	for _, of := range Table() {
		if _, ok := exposed[of.Name]; !ok {
			t.Errorf("%s is not exposed", of.Name)
		}
		delete(exposed, of.Name)
	}
	if len(exposed) > 0 {
		t.Errorf("not in the table: %v", exposed)
	}
	if traffic := m.Traffic(); len(traffic) != 1 || traffic[0].Stale != 1 || traffic[0].Requests != 2 || traffic[0].Misses != 0 || traffic[0].Received != 7 || traffic[0].Preloaded != 5 {
		t.Errorf("traffic is %+v", traffic)
	}
}
