package caddymodule

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/internal/upstream"
)

// breakerStatus is the circuit breaker of one URL of an upstream, as the admin
// API shows it.
type breakerStatus struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// State is closed, half_open (a probe is due) or open.
	State string `json:"state"`
	// Fails counts failed tries in a row, Class says why the last one failed.
	Fails int    `json:"fails"`
	Class string `json:"class,omitempty"`
	// Wait is how many seconds to go until the next probe.
	Wait float64 `json:"wait_seconds,omitempty"`

	level int
}

var breakerStates = []string{"closed", "half_open", "open"}

// breakerStatuses returns the breakers of the clients in use, the worst one
// where several clients have one name and URL.
func breakerStatuses() []breakerStatus {
	worst := map[[2]string]breakerStatus{}
	clients.Range(func(_, value any) bool {
		c, ok := value.(*client)
		if !ok {
			return true // one that is still being made
		}
		for _, b := range c.Breakers() {
			s := newBreakerStatus(c.name, b)
			key := [2]string{s.Name, s.URL}
			if old, ok := worst[key]; !ok || s.level > old.level {
				worst[key] = s
			}
		}
		return true
	})
	statuses := make([]breakerStatus, 0, len(worst))
	for _, s := range worst {
		statuses = append(statuses, s)
	}
	slices.SortFunc(statuses, func(a, b breakerStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.URL, b.URL))
	})
	return statuses
}

func newBreakerStatus(name string, b upstream.Breaker) breakerStatus {
	s := breakerStatus{Name: name, URL: b.URL, Fails: b.Fails, Class: string(b.Class), Wait: b.Wait.Seconds()}
	switch {
	case b.Open && b.Wait > 0:
		s.level = 2
	case b.Open:
		s.level = 1
	}
	s.State = breakerStates[s.level]
	return s
}

// breakerCollector reads the state of all breakers when it is scraped.
type breakerCollector struct{}

var breakerDesc = prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, "breaker_state"),
	"Whether an upstream is asked: 0 = it is, 1 = a probe is due, 2 = it is not.", []string{"upstream", "url"}, nil)

// Describe implements prometheus.Collector.
func (breakerCollector) Describe(descs chan<- *prometheus.Desc) { descs <- breakerDesc }

// Collect implements prometheus.Collector.
func (breakerCollector) Collect(values chan<- prometheus.Metric) {
	defer surviveScrape()
	for _, s := range breakerStatuses() {
		values <- prometheus.MustNewConstMetric(breakerDesc, prometheus.GaugeValue, float64(s.level), s.Name, s.URL)
	}
}
