package command

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// number writes a number for people.
func number[N int | int64](n N) string { return humanize.Comma(int64(n)) }

func counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// lasted writes how long something lasts, in its two largest units.
func lasted(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

func ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return humanize.Time(*t)
}

// amount tells how much is done of how much, which may be unknown, how fast and for
// how long.
func amount(done, total int64, since time.Duration) string {
	line := size(done)
	if total > 0 {
		line += fmt.Sprintf(" of %s (%d %%)", size(total), min(done, total)*100/total)
	}
	if rate := float64(done) / since.Seconds(); since >= time.Second && rate > 0 {
		line += fmt.Sprintf(", %s/s", size(int64(rate)))
		if total > done {
			line += fmt.Sprintf(", %v left", time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	return line
}

// printable quotes what could have a terminal in mind.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// table aligns columns.
type table struct{ *tabwriter.Writer }

// newTable returns a table below a header, if that is not empty. Whoever makes it also
// flushes it.
func newTable(to io.Writer, header ...string) table {
	return headed(tabwriter.NewWriter(to, 0, 0, 2, ' ', 0), header)
}

// newRightTable is newTable with columns that are aligned on the right.
func newRightTable(to io.Writer, header ...string) table {
	return headed(tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight), header)
}

func headed(w *tabwriter.Writer, header []string) table {
	t := table{w}
	if len(header) > 0 {
		t.row(header...)
	}
	return t
}

func (t table) row(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

// listed is how many things are printed of those that could fill a screen; JSON has
// all.
const listed = 20

// more says that there are more things than are listed.
func more(w io.Writer, all int) {
	if all > listed {
		fmt.Fprintf(w, "  and %s more; --json lists all\n", number(all-listed))
	}
}
