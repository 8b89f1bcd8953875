package monitoring

import (
	"encoding/json"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// others are the metrics and labels that are Prometheus' own, or of every Go program.
var (
	otherMetrics = []string{"up", "process_start_time_seconds"}
	otherLabels  = []string{"instance", "job", "le", labels.MetricName}
)

// tableLabels returns the labels of each metric, read off the table of internal/metrics.
func tableLabels(t *testing.T) map[string][]string {
	t.Helper()
	file, err := goparser.ParseFile(token.NewFileSet(), "../../metrics/table.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	text := func(e ast.Expr) string {
		literal, ok := e.(*ast.BasicLit)
		if !ok {
			return ""
		}
		value, _ := strconv.Unquote(literal.Value)
		return value
	}
	found := map[string][]string{}
	ast.Inspect(file, func(node ast.Node) bool {
		literal, ok := node.(*ast.CompositeLit)
		if !ok {
			return true
		}
		name, names := "", []string{}
		for _, element := range literal.Elts {
			field, ok := element.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			switch key, _ := field.Key.(*ast.Ident); key.Name {
			case "Name":
				name = "caddy_registry_mirror_" + text(field.Value)
			case "Labels":
				for _, label := range field.Value.(*ast.CompositeLit).Elts {
					names = append(names, text(label))
				}
			}
		}
		if name != "" {
			found[name] = names
		}
		return true
	})
	if len(found) < 20 {
		t.Fatalf("found only %d metrics in the table", len(found))
	}
	return found
}

// checkExpression parses an expression, and finds its metrics and labels in the table.
func checkExpression(t *testing.T, where, text string) {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, text)
		return
	}
	table := tableLabels(t)
	var known []string // labels of the metrics of this expression
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		names, ours := table[strings.TrimSuffix(selector.Name, "_bucket")]
		if !ours && !slices.Contains(otherMetrics, selector.Name) {
			t.Errorf("%s: there is no metric %s", where, selector.Name)
		}
		for _, matcher := range selector.LabelMatchers {
			if !slices.Contains(names, matcher.Name) && !slices.Contains(otherLabels, matcher.Name) {
				t.Errorf("%s: %s has no label %s", where, selector.Name, matcher.Name)
			}
		}
		known = append(known, names...)
		return nil
	})
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if aggregation, ok := node.(*parser.AggregateExpr); ok {
			for _, name := range aggregation.Grouping {
				if !slices.Contains(known, name) && !slices.Contains(otherLabels, name) {
					t.Errorf("%s: no metric of it has the label %s", where, name)
				}
			}
		}
		return nil
	})
}

// Every panel of the dashboard asks Prometheus for what there is.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile("../../../deploy/grafana/pullgate.json")
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ X, Y, W, H int }
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos place
			Targets []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal(raw, &dashboard); err != nil {
		t.Fatal(err)
	}
	if len(dashboard.Panels) < 20 {
		t.Errorf("only %d panels", len(dashboard.Panels))
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1d")
	taken := map[place]string{} // by the cell
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("%s: another panel has the id %d", panel.Title, panel.ID)
		}
		ids[panel.ID] = true
		at := panel.GridPos
		for x := range at.W {
			for y := range at.H {
				cell := place{X: at.X + x, Y: at.Y + y}
				if taken[cell] != "" || cell.X >= 24 {
					t.Errorf("%s lies on %q, or beyond the edge", panel.Title, taken[cell])
				}
				taken[cell] = panel.Title
			}
		}
		if (len(panel.Targets) == 0) != (panel.Type == "row") {
			t.Errorf("%s: %d targets", panel.Title, len(panel.Targets))
		}
		for _, target := range panel.Targets {
			checkExpression(t, panel.Title, variables.Replace(target.Expr))
		}
	}
}
