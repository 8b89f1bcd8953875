package caddymodule

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/upstream"
)

// metrics are the collectors of the process. They are made once and registered
// with the registry of every configuration, so counts survive reloads. All names
// begin with caddy_registry_mirror_:
//
//	requests_total{upstream,kind,result}          requests answered
//	response_bytes_total{upstream,kind}           bytes of bodies sent to clients
//	upstream_requests_total{upstream,op,class}    HTTP requests sent to an upstream, its token server and CDN
//	upstream_request_duration_seconds{upstream}   histogram: from such a request to the header of its answer
//	upstream_bytes_total{upstream}                bytes of bodies received from an upstream
//	stale_served_total{upstream,reason}           stale answers; reason is the class of what went wrong
//	breaker_state{upstream,url}                   0 = closed, 1 = half-open: a probe is due, 2 = open
//	fills_total{upstream,class}                   downloads of blobs that ended
//	fills_running                                 downloads of blobs in progress
//	panics_total{where}                           panics that were survived; where is request, mirror, storage or metrics
//	cache_bytes, cache_blobs                      blobs in the store
//	cache_upstream_bytes{upstream}                blobs by the upstream that brought them in first
//	cache_pinned_bytes                            blobs of pinned images, when blobs last had to be evicted
//	cache_index_bytes                             size of the store's index
//	cache_index_open                              1, or 0 while the index cannot be opened
//	cache_index_rebuilds_total                    times that the index was damaged and begun anew
//	cache_quarantined_blobs_total                 blobs found damaged since the store was opened
//	cache_free_bytes                              free space on the store's file system
//	cache_free_inodes                             free inodes there, 0 where the file system has no such limit
//	cache_evicted_blobs_total                     blobs evicted since the store was opened
//	cache_evicted_bytes_total                     their bytes
//
// Every label has a closed set of values. upstream is a configured name, or
// empty if a request names none. kind is ping, manifest, blob, tags, referrers,
// or empty for what is no request of the API. op is that of
// upstream.Observation, class an oci.Class, or ok. result is one of:
//
//	hit, miss, joined, stale   answered; see oci.Result. A ping is a hit
//	notfound                   404
//	denied                     401, 403
//	ratelimited                429
//	client_error               other 4xx
//	error                      5xx
//	aborted                    cut before it was complete, by whichever end
var metrics = newMetrics()

const namespace, subsystem = "caddy", "registry_mirror"

type collectors struct {
	requests         *prometheus.CounterVec
	stale            *prometheus.CounterVec
	responseBytes    *prometheus.CounterVec
	upstreamRequests *prometheus.CounterVec
	upstreamDuration *prometheus.HistogramVec
	upstreamBytes    *prometheus.CounterVec
	fills            *prometheus.CounterVec
	panics           *prometheus.CounterVec

	// answers has an answerCounter for each answerLabels that there were: to find one
	// is cheaper than to find its counters by their labels.
	answers sync.Map
}

type answerLabels struct {
	upstream string
	kind     oci.Kind
	result   string
}

type answerCounter struct{ requests, bytes prometheus.Counter }

func newMetrics() *collectors {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
		}, labels)
	}
	m := &collectors{
		requests:         counter("requests_total", "Requests answered.", "upstream", "kind", "result"),
		stale:            counter("stale_served_total", "Stale answers, in place of fresh ones.", "upstream", "reason"),
		responseBytes:    counter("response_bytes_total", "Bytes of bodies sent to clients.", "upstream", "kind"),
		upstreamRequests: counter("upstream_requests_total", "HTTP requests sent to upstreams.", "upstream", "op", "class"),
		upstreamDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: "upstream_request_duration_seconds",
			Help:    "Time from an HTTP request to an upstream to the header of its answer.",
			Buckets: prometheus.DefBuckets,
		}, []string{"upstream"}),
		upstreamBytes: counter("upstream_bytes_total", "Bytes of bodies received from upstreams.", "upstream"),
		fills:         counter("fills_total", "Downloads of blobs that ended.", "upstream", "class"),
		panics:        counter("panics_total", "Panics that were survived.", "where"),
	}
	for _, where := range []string{panicRequest, panicMirror, panicStorage, panicMetrics} {
		m.panics.WithLabelValues(where) // so that an alert sees the first one as growth
	}
	return m
}

// Where panics come from.
const (
	panicRequest = "request"
	panicMirror  = "mirror"
	panicStorage = "storage"
	panicMetrics = "metrics"
)

func (m *collectors) observePanic(where string) func() { return m.panics.WithLabelValues(where).Inc }

// surviveScrape, deferred, ends a collection that panics: scrapes run in goroutines
// of their own, where that would end the process.
func surviveScrape() {
	if p := recover(); p != nil {
		metrics.observePanic(panicMetrics)()
		slog.New(newestLog{}).Error("metrics panicked", "panic", p, "stack", string(debug.Stack()))
	}
}

// registerMetrics makes the collectors part of a configuration's registry. More
// than one App or site may do so.
func registerMetrics(registry *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{
		metrics.requests, metrics.stale, metrics.responseBytes, metrics.upstreamRequests, metrics.upstreamDuration,
		metrics.upstreamBytes, metrics.fills, metrics.panics,
		storeCollector{},
		breakerCollector{},
	} {
		var already prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

func (m *collectors) observeAnswer(_ *http.Request, a *registry.Answer) {
	q := a.Request
	counter := m.answerCounter(answerLabels{q.Upstream, q.Kind, result(a)})
	counter.requests.Inc()
	counter.bytes.Add(float64(a.Bytes))
	if a.Panicked {
		m.panics.WithLabelValues(panicRequest).Inc()
	}
	if a.Cache.Result == oci.ResultStale {
		m.stale.WithLabelValues(q.Upstream, a.Cache.Detail).Inc()
	}
}

func (m *collectors) answerCounter(of answerLabels) answerCounter {
	counter, ok := m.answers.Load(of)
	if !ok {
		counter, _ = m.answers.LoadOrStore(of, answerCounter{
			requests: m.requests.WithLabelValues(of.upstream, string(of.kind), of.result),
			bytes:    m.responseBytes.WithLabelValues(of.upstream, string(of.kind)),
		})
	}
	return counter.(answerCounter)
}

func result(a *registry.Answer) string {
	switch {
	case a.Aborted:
		return "aborted"
	case a.Status >= 500:
		return "error"
	case a.Status == http.StatusNotFound:
		return "notfound"
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return "denied"
	case a.Status == http.StatusTooManyRequests:
		return "ratelimited"
	case a.Status >= 400:
		return "client_error"
	case a.Cache.Result != "":
		return string(a.Cache.Result)
	}
	return string(oci.ResultHit) // a ping
}

func (m *collectors) observeRequest(name string) func(upstream.Observation) {
	duration := m.upstreamDuration.WithLabelValues(name)
	return func(o upstream.Observation) {
		m.upstreamRequests.WithLabelValues(name, o.Op, class(o.Class)).Inc()
		duration.Observe(o.Duration.Seconds())
	}
}

func (m *collectors) observeBytes(name string) func(string, int64) {
	received := m.upstreamBytes.WithLabelValues(name)
	return func(_ string, n int64) { received.Add(float64(n)) }
}

func (m *collectors) observeFill(e mirror.FillEvent) {
	if e.Finished {
		m.fills.WithLabelValues(e.Upstream, class(e.Class)).Inc()
	}
}

func class(c oci.Class) string {
	if c == oci.ClassNone {
		return "ok"
	}
	return string(c)
}

// storeCollector reads the state of all open stores when it is scraped.
type storeCollector struct{}

var storeMetrics = []struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(cacheStatus) int64
}{
	{storeDesc("fills_running", "Downloads of blobs in progress."), prometheus.GaugeValue, func(s cacheStatus) int64 { return int64(s.Fills) }},
	{storeDesc("cache_bytes", "Bytes of blobs in the store."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.BlobBytes }},
	{storeDesc("cache_blobs", "Blobs in the store."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.Blobs }},
	{storeDesc("cache_pinned_bytes", "Bytes of blobs of pinned images."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.PinnedBytes }},
	{storeDesc("cache_index_bytes", "Size of the store's index."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.IndexBytes }},
	{storeDesc("cache_index_open", "Stores whose index is open."), prometheus.GaugeValue, func(s cacheStatus) int64 { return one(s.IndexOpen) }},
	{storeDesc("cache_index_rebuilds_total", "Times that the index was damaged and begun anew."), prometheus.CounterValue, func(s cacheStatus) int64 { return s.IndexRebuilds }},
	{storeDesc("cache_quarantined_blobs_total", "Blobs found damaged since the store was opened."), prometheus.CounterValue, func(s cacheStatus) int64 { return s.QuarantinedBlobs }},
	{storeDesc("cache_free_bytes", "Free space on the store's file system."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.FreeBytes }},
	{storeDesc("cache_free_inodes", "Free inodes on the store's file system."), prometheus.GaugeValue, func(s cacheStatus) int64 { return s.FreeInodes }},
	{storeDesc("cache_evicted_blobs_total", "Blobs evicted since the store was opened."), prometheus.CounterValue, func(s cacheStatus) int64 { return s.EvictedBlobs }},
	{storeDesc("cache_evicted_bytes_total", "Bytes evicted since the store was opened."), prometheus.CounterValue, func(s cacheStatus) int64 { return s.EvictedBytes }},
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

func storeDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

var upstreamDesc = storeDesc("cache_upstream_bytes", "Bytes of blobs by the upstream that brought them in first.", "upstream")

// Describe implements prometheus.Collector.
func (storeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range storeMetrics {
		descs <- m.desc
	}
	descs <- upstreamDesc
}

// Collect implements prometheus.Collector.
func (storeCollector) Collect(values chan<- prometheus.Metric) {
	defer surviveScrape()
	stores := cacheStatuses()
	upstreams := map[string]int64{}
	for _, s := range stores {
		for name, bytes := range s.Upstreams {
			upstreams[name] += bytes
		}
	}
	for name, bytes := range upstreams {
		values <- prometheus.MustNewConstMetric(upstreamDesc, prometheus.GaugeValue, float64(bytes), name)
	}
	for _, m := range storeMetrics {
		var sum int64
		for _, s := range stores {
			sum += m.value(s)
		}
		values <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(sum))
	}
}
