// Package metrics counts what a gateway does, for Prometheus and for its status.
package metrics

import (
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/upstream"
)

// Where panics come from.
const (
	PanicRequest = "request"
	PanicMirror  = "mirror"
	PanicStorage = "storage"
	PanicMetrics = "metrics"
)

// Options say where the state is read of what is not counted.
type Options struct {
	Version   string // of this module
	Stores    func() []operate.StoreStatus
	Upstreams func() []operate.UpstreamStatus
	// Panicked is called with what a scrape panicked of: scrapes run in goroutines of
	// their own, where that would end the process.
	Panicked func(p any)
}

// Metrics are the collectors of a process. They may be registered more than once, so
// that counts survive reloads.
type Metrics struct {
	o Options
	answerVectors
	upstreamRequests *prometheus.CounterVec
	upstreamDuration *prometheus.HistogramVec
	upstreamBytes    *prometheus.CounterVec
	fills            *prometheus.CounterVec
	preloaded        *prometheus.CounterVec
	pulls            *prometheus.CounterVec
	pullDuration     *prometheus.HistogramVec
	panics           *prometheus.CounterVec
	latencies        latencies

	// answers has an answerCounter for each answerLabels that there were: to find one
	// is cheaper than to find its counters by their labels.
	answers sync.Map
}

// answerVectors tell of answers to clients.
type answerVectors struct {
	requests, stale, responseBytes, redirectedBytes *prometheus.CounterVec
	responseDuration                                *prometheus.HistogramVec
}

type answerLabels struct {
	upstream string
	kind     oci.Kind
	result   string
}

type answerCounter struct {
	requests, bytes prometheus.Counter
	duration        prometheus.Observer
}

// responseBuckets reach from a manifest out of the cache to a large layer from afar.
var responseBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// pullBuckets reach from an image out of the cache to a large one from afar.
var pullBuckets = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}

// New returns collectors that have counted nothing yet.
func New(o Options) *Metrics {
	counter := func(name string) *prometheus.CounterVec {
		m := named(name)
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: m.Help}, m.Labels)
	}
	histogram := func(name string, buckets []float64) *prometheus.HistogramVec {
		m := named(name)
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: m.Help, Buckets: buckets,
		}, m.Labels)
	}
	m := &Metrics{
		o: o,
		answerVectors: answerVectors{
			requests: counter("requests_total"), stale: counter("stale_served_total"), responseBytes: counter("response_bytes_total"),
			redirectedBytes:  counter("redirected_bytes_total"),
			responseDuration: histogram("response_duration_seconds", responseBuckets),
		},
		upstreamRequests: counter("upstream_requests_total"),
		upstreamDuration: histogram("upstream_request_duration_seconds", prometheus.DefBuckets),
		upstreamBytes:    counter("upstream_bytes_total"),
		fills:            counter("fills_total"),
		preloaded:        counter("preloaded_bytes_total"),
		pulls:            counter("pulls_total"),
		pullDuration:     histogram("pull_duration_seconds", pullBuckets),
		panics:           counter("panics_total"),
	}
	for _, where := range []string{PanicRequest, PanicMirror, PanicStorage, PanicMetrics} {
		m.panics.WithLabelValues(where) // so that an alert sees the first one as growth
	}
	return m
}

// Register makes the collectors part of a registry.
func (m *Metrics) Register(to *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{
		m.requests, m.stale, m.responseBytes, m.redirectedBytes, m.responseDuration, m.upstreamRequests, m.upstreamDuration, m.upstreamBytes, m.fills,
		m.preloaded, m.pulls, m.pullDuration, m.panics,
		stateCollector{m},
	} {
		var already prometheus.AlreadyRegisteredError
		if err := to.Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// Panic returns what counts the panics of a place.
func (m *Metrics) Panic(where string) func() { return m.panics.WithLabelValues(where).Inc }

// Answer counts an answer to a client, unless it only says that the API is here.
func (m *Metrics) Answer(_ *http.Request, a *registry.Answer) {
	q := a.Request
	if q.Kind == oci.KindPing && !a.Panicked {
		return
	}
	counter := m.answerCounter(answerLabels{q.Upstream, q.Kind, result(a)})
	counter.requests.Inc()
	counter.bytes.Add(float64(a.Bytes))
	counter.duration.Observe(time.Since(a.Began).Seconds())
	if a.Redirected > 0 {
		m.redirectedBytes.WithLabelValues(q.Upstream).Add(float64(a.Redirected))
	}
	if a.Panicked {
		m.panics.WithLabelValues(PanicRequest).Inc()
	}
	if a.Cache.Result == oci.ResultStale {
		m.stale.WithLabelValues(q.Upstream, a.Cache.Detail).Inc()
	}
}

func (m *Metrics) answerCounter(of answerLabels) answerCounter {
	counter, ok := m.answers.Load(of)
	if !ok {
		counter, _ = m.answers.LoadOrStore(of, answerCounter{
			requests: m.requests.WithLabelValues(of.upstream, string(of.kind), of.result),
			bytes:    m.responseBytes.WithLabelValues(of.upstream, string(of.kind)),
			duration: m.responseDuration.WithLabelValues(string(of.kind), of.result),
		})
	}
	return counter.(answerCounter)
}

func result(a *registry.Answer) string {
	switch {
	case a.Aborted:
		return "aborted"
	case a.Redirected > 0:
		return "redirected"
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
	}
	return string(a.Cache.Result)
}

// Requests returns what counts the requests to an upstream.
func (m *Metrics) Requests(name string) func(upstream.Observation) {
	duration := m.upstreamDuration.MustCurryWith(prometheus.Labels{"upstream": name})
	return func(o upstream.Observation) {
		m.upstreamRequests.WithLabelValues(name, o.Op, class(o.Class)).Inc()
		duration.WithLabelValues(o.Op).Observe(o.Duration.Seconds())
		if o.Class != oci.ClassCanceled { // which says when the client left
			m.latencies.add(name, o.Duration)
		}
	}
}

// Received returns what counts the bytes from an upstream.
func (m *Metrics) Received(name string) func(string, int64) {
	received := m.upstreamBytes.WithLabelValues(name)
	return func(_ string, n int64) { received.Add(float64(n)) }
}

// Fill counts a download of a blob.
func (m *Metrics) Fill(e mirror.FillEvent) {
	if !e.Finished {
		return
	}
	m.fills.WithLabelValues(e.Upstream, class(e.Class)).Inc()
	if e.Client == "" {
		m.preloaded.WithLabelValues(e.Upstream).Add(float64(e.Bytes))
	}
}

// Pull counts a pull of an image that has ended.
func (m *Metrics) Pull(p operate.Pull) {
	m.pulls.WithLabelValues(p.Upstream, p.Result).Inc()
	if p.Result == operate.PullOK {
		m.pullDuration.WithLabelValues(p.Cache).Observe(p.Took().Seconds())
	}
}

func class(c oci.Class) string {
	if c == oci.ClassNone {
		return "ok"
	}
	return string(c)
}
