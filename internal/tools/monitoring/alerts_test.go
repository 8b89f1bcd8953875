package monitoring

import (
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
)

const rulesFile = "../../../deploy/prometheus/pullgate.rules.yml"

// alertCase is what an alert fires at, and what it does not fire at: one series per line,
// as a metric, its own labels if any, and values in steps of five minutes, of which the
// last is now.
type alertCase struct {
	labels     string // of the alert that fires, beside the instance and the job
	bad, quiet string
}

var alertCases = map[string]alertCase{
	"PullgateDown":        {"", "up 1x300 0x19", "up 1x320"},
	"PullgateIndexClosed": {"", "cache_index_open 0x320", "cache_index_open 1x320"},
	"PullgateUpstreamNotOK": {
		`state="denied", upstream="docker.io"`, "upstream_state upstream=docker.io,url=u,state=denied 1x320",
		"upstream_state upstream=docker.io,url=u,state=denied 1x318 0x1\nupstream_state upstream=docker.io,url=u,state=ok 1x320",
	},
	"PullgateRateLimitNearlyUsedUp": {
		`upstream="docker.io"`, "upstream_ratelimit_remaining upstream=docker.io,url=u 9x320\nupstream_ratelimit_limit upstream=docker.io,url=u 100x320",
		"upstream_ratelimit_remaining upstream=docker.io,url=u 11x320\nupstream_ratelimit_limit upstream=docker.io,url=u 100x320",
	},
	"PullgateDiskNearlyFull": {
		"", "cache_free_bytes 2x320\ncache_bytes 97x320\ncache_index_bytes 1x320", "cache_free_bytes 4x320\ncache_bytes 95x320\ncache_index_bytes 1x320",
	},
	"PullgateEvictionsHigh": {
		"", "cache_evicted_bytes_total 0+1x320\ncache_bytes 500x320", "cache_evicted_bytes_total 0+1x320\ncache_bytes 700x320",
	},
	"PullgateErrors": {
		"", "requests_total result=error 0+6x320\nrequests_total result=hit 0+94x320", "requests_total result=error 0+4x320\nrequests_total result=hit 0+96x320",
	},
	"PullgateBlobsQuarantined": {"", "cache_quarantined_blobs_total 0x310 1x9", "cache_quarantined_blobs_total 1x320"},
	"PullgateSavesNothing": {
		"", "upstream_bytes_total upstream=docker.io 0+100000000x320\nresponse_bytes_total upstream=docker.io 0+90000000x320",
		"upstream_bytes_total upstream=docker.io 0+90000000x320\nresponse_bytes_total upstream=docker.io 0+100000000x320",
	},
	"PullgatePanics": {`where="mirror"`, "panics_total where=mirror 0x310 1x9", "panics_total where=mirror 0x320"},
}

const step, steps = 5 * time.Minute, 320

// load makes the input of promqltest.
func load(series string) string {
	var b strings.Builder
	b.WriteString("load 5m\n")
	for line := range strings.Lines(series) {
		metric, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		own, values, _ := strings.Cut(rest, " ")
		if !strings.Contains(own, "=") {
			own, values = "", rest
		}
		labels := `instance="a:2020",job="pullgate"`
		for label := range strings.SplitSeq(own, ",") {
			if name, value, ok := strings.Cut(label, "="); ok {
				labels += "," + name + `="` + value + `"`
			}
		}
		if metric != "up" {
			metric = "caddy_registry_mirror_" + metric
		}
		b.WriteString("  " + metric + "{" + labels + "} " + values + "\n")
	}
	return b.String()
}

// firing returns the labels of the alerts of a rule that fire now: what its expression
// has had for as long as the rule wants.
func firing(t *testing.T, rule rulefmt.Rule, series string) []string {
	t.Helper()
	store := promqltest.LoadedStorage(t, load(series))
	engine := promqltest.NewTestEngine(t, false, 0, 1e6)
	now := time.Unix(0, 0).Add(steps * step)
	var throughout map[string]bool
	for at := now; !at.Before(now.Add(-time.Duration(rule.For))); at = at.Add(-time.Minute) {
		query, err := engine.NewInstantQuery(t.Context(), store, nil, rule.Expr, at)
		if err != nil {
			t.Fatal(err)
		}
		result := query.Exec(t.Context())
		vector, err := result.Vector()
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, sample := range vector {
			if l := sample.Metric.DropReserved(func(name string) bool { return name == "__name__" }).String(); throughout == nil || throughout[l] {
				found[l] = true
			}
		}
		throughout = found
		query.Close()
	}
	return slices.Sorted(maps.Keys(throughout))
}

// The rules are what Prometheus takes, each alert fires at what it is for, and at nothing
// else.
func TestAlerts(t *testing.T) {
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	seen := map[string]bool{}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			name := rule.Alert
			seen[name] = true
			c, ok := alertCases[name]
			if !ok {
				t.Errorf("%s: no case here", name)
				continue
			}
			checkExpression(t, name, rule.Expr)
			if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" || rule.Labels["severity"] == "" {
				t.Errorf("%s: without summary, description or severity", name)
			}
			alerts := firing(t, rule, c.bad)
			if len(alerts) != 1 || !strings.Contains(alerts[0], `instance="a:2020"`) || !strings.Contains(alerts[0], c.labels) {
				t.Errorf("%s: %v fire, want one with %s", name, alerts, c.labels)
			}
			if alerts := firing(t, rule, c.quiet); len(alerts) != 0 {
				t.Errorf("%s: %v fire at nothing", name, alerts)
			}
		}
	}
	for name := range alertCases {
		if !seen[name] {
			t.Errorf("%s: there is no such alert", name)
		}
	}
	if alerts := firing(t, groups.Groups[0].Rules[0], ""); len(alerts) != 1 {
		t.Errorf("no metrics at all: %v fire", alerts)
	}
}

// docs/monitoring.md explains each alert.
func TestAlertsInDocs(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range alertCases {
		if !strings.Contains(string(raw), "\n| `"+name+"` |") {
			t.Errorf("docs/monitoring.md has no row for %s", name)
		}
	}
}
