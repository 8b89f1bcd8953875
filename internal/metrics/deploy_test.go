package metrics

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var mentioned = regexp.MustCompile(`\bcaddy_registry_mirror_([a-z_]+)`)

// The dashboard and the alert rules ask for metrics that there are. internal/tools/monitoring
// parses their expressions.
func TestDashboardAndAlertsNameMetrics(t *testing.T) {
	var names []string
	for _, m := range Table() {
		names = append(names, m.Name)
		if strings.HasSuffix(m.Name, "_duration_seconds") { // a histogram
			names = append(names, m.Name+"_bucket")
		}
	}
	for _, file := range []string{"grafana/pullgate.json", "prometheus/pullgate.rules.yml"} {
		raw, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		found := mentioned.FindAllStringSubmatch(string(raw), -1)
		if len(found) < 10 {
			t.Errorf("%s names only %d metrics", file, len(found))
		}
		for _, match := range found {
			if !slices.Contains(names, match[1]) {
				t.Errorf("%s: there is no metric %s", file, match[0])
			}
		}
	}
}
