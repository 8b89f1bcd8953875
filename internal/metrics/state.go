package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/operate"
)

// stateCollector reads the state of all open stores and all circuit breakers when it is
// scraped.
type stateCollector struct{ *Metrics }

// Describe implements prometheus.Collector.
func (stateCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, m := range Table() {
		if m.store != nil {
			descs <- m.desc()
		}
	}
	descs <- named("cache_upstream_bytes").desc()
	descs <- named("breaker_state").desc()
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
		values <- prometheus.MustNewConstMetric(named("cache_upstream_bytes").desc(), prometheus.GaugeValue, float64(bytes), name)
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
		values <- prometheus.MustNewConstMetric(named("breaker_state").desc(), prometheus.GaugeValue, float64(u.Level()), u.Name, u.URL)
	}
}

func sum(stores []operate.StoreStatus, of func(operate.StoreStatus) int64) (n int64) {
	for _, s := range stores {
		n += of(s)
	}
	return n
}
