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

// percentile returns the value that the share p of all do not exceed.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(float64(len(sorted))*p))]
}
