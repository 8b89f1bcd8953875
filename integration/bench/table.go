package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// table is what is printed: Markdown.
type table struct{ lines []line }

type line struct{ what, ours, other, ratio string }

func (t *table) add(what, ours, other, ratio string) {
	t.lines = append(t.lines, line{what, ours, other, ratio})
	say("  %s: %s, %s, %s", what, ours, other, ratio)
}

// addPair adds a line of what two contestants have done in the same rounds.
func (t *table) addPair(what, format, name string, loads [][]load, of func(load) float64) {
	ours, other, ratio := pair(loads[0], loads[1], of)
	t.add(what, fmt.Sprintf(format, ours), name+" "+fmt.Sprintf(format, other), fmt.Sprintf("%.2f", ratio))
	say("    by round: %.2f", ratios(valuesOf(loads[0], of), valuesOf(loads[1], of)))
}

func (t *table) print(w io.Writer) {
	out := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	fmt.Fprintln(out, "| measured\t| Pullgate\t| compared with\t| ratio\t|")
	fmt.Fprintln(out, "|---\t|---\t|---\t|---\t|")
	for _, l := range t.lines {
		fmt.Fprintf(out, "| %s\t| %s\t| %s\t| %s\t|\n", l.what, l.ours, l.other, l.ratio)
	}
	out.Flush()
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios returns those of values of the same rounds.
func ratios(ours, others []float64) []float64 {
	values := make([]float64, 0, len(ours))
	for k := range min(len(ours), len(others)) {
		values = append(values, ours[k]/others[k])
	}
	return values
}

// percentile returns the value that the share p of all do not exceed.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p))]
}
