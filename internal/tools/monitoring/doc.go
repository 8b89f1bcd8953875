// Package monitoring tests what deploy has for Prometheus and Grafana with Prometheus' own
// parser and engine. It is a module of its own, so that these are no dependencies of the
// gateway.
package monitoring
