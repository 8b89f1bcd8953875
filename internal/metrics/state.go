package metrics

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/upstream"
)

// stateCollector reads the state of all open stores and of all upstreams when it is
// scraped.
type stateCollector struct{ *Metrics }

// Describe implements prometheus.Collector.
func (stateCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range Table() {
		if m.store != nil {
			descs <- m.desc()
		}
	}
	for _, name := range []string{
		"cache_upstream_bytes", "breaker_state", "upstream_state", "upstream_ratelimit_remaining", "upstream_ratelimit_limit",
		"upstream_ratelimit_reset_timestamp_seconds", "build_info",
	} {
		descs <- named(name).desc()
	}
}

// gauge sends the value of a gauge of the table.
func gauge(values chan<- prometheus.Metric, name string, value float64, labels ...string) {
	values <- prometheus.MustNewConstMetric(named(name).desc(), prometheus.GaugeValue, value, labels...)
}

// Collect implements prometheus.Collector.
func (c stateCollector) Collect(values chan<- prometheus.Metric) {
	defer func() {
		if p := recover(); p != nil {
			c.Panic(PanicMetrics)()
			c.o.Panicked(p)
		}
	}()
	stores := c.o.Stores()
	upstreams := map[string]int64{}
	for _, s := range stores {
		for name, bytes := range s.Upstreams {
			upstreams[name] += bytes
		}
	}
	for name, bytes := range upstreams {
		gauge(values, "cache_upstream_bytes", float64(bytes), name)
	}
	for _, m := range Table() {
		if m.store == nil {
			continue
		}
		kind := prometheus.GaugeValue
		if m.counts {
			kind = prometheus.CounterValue
		}
		values <- prometheus.MustNewConstMetric(m.desc(), kind, float64(sum(stores, m.store)))
	}
	for _, u := range c.o.Upstreams() {
		gauge(values, "breaker_state", float64(u.Level()), u.Name, u.URL)
		for _, state := range upstream.Conditions() {
			gauge(values, "upstream_state", float64(one(u.State == string(state))), u.Name, u.URL, string(state))
		}
		rateLimit(values, u)
	}
	gauge(values, "build_info", 1, c.o.Version, runtime.Version())
}

// rateLimit sends what is told of an upstream's rate limit.
func rateLimit(values chan<- prometheus.Metric, u operate.UpstreamStatus) {
	l := u.RateLimit
	if l == nil {
		return
	}
	gauge(values, "upstream_ratelimit_remaining", float64(l.Remaining), u.Name, u.URL)
	if l.Limit > 0 {
		gauge(values, "upstream_ratelimit_limit", float64(l.Limit), u.Name, u.URL)
	}
	if !l.Reset.IsZero() {
		gauge(values, "upstream_ratelimit_reset_timestamp_seconds", float64(l.Reset.UnixMilli())/1000, u.Name, u.URL)
	}
}

func sum(stores []operate.StoreStatus, of func(operate.StoreStatus) int64) (n int64) {
	for _, s := range stores {
		n += of(s)
	}
	return n
}
