// Package terminal writes for people who sit before a terminal: numbers in words, tables
// and progress.
package terminal

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
)

// Size writes a number of bytes for people.
func Size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// Number writes a number for people.
func Number[N int | int64](n N) string { return humanize.Comma(int64(n)) }

// Counted writes a number of things, given the noun for one.
func Counted[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Number(n) + " " + noun + "s"
}

// Lasted writes how long something lasts, in its two largest units.
func Lasted(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

// Ago writes how long ago something was; nil = it never was.
func Ago(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return humanize.Time(*t)
}

// Since writes how long before now something was; zero = it was not yet.
func Since(t, now time.Time) string {
	if t.IsZero() {
		return "not yet"
	}
	return humanize.RelTime(t, now, "ago", "from now")
}

// Amount tells how much is done of how much, which may be unknown, how fast and for
// how long.
func Amount(done, total int64, since time.Duration) string {
	line := Size(done)
	if total > 0 {
		line += fmt.Sprintf(" of %s (%d %%)", Size(total), min(done, total)*100/total)
	}
	if rate := float64(done) / since.Seconds(); since >= time.Second && rate > 0 {
		line += fmt.Sprintf(", %s/s", Size(int64(rate)))
		if total > done {
			line += fmt.Sprintf(", %v left", time.Duration(float64(total-done)/rate*float64(time.Second)).Round(time.Second))
		}
	}
	return line
}

// Printable quotes what could have a terminal in mind.
func Printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

// Table aligns columns.
type Table struct{ *tabwriter.Writer }

// NewTable returns a table below a header, if that is not empty. Whoever makes it also
// flushes it.
func NewTable(to io.Writer, header ...string) Table {
	return headed(tabwriter.NewWriter(to, 0, 0, 2, ' ', 0), header)
}

// NewRightTable is NewTable with columns that are aligned on the right.
func NewRightTable(to io.Writer, header ...string) Table {
	return headed(tabwriter.NewWriter(to, 0, 0, 2, ' ', tabwriter.AlignRight), header)
}

func headed(w *tabwriter.Writer, header []string) Table {
	t := Table{w}
	if len(header) > 0 {
		t.Row(header...)
	}
	return t
}

// Row writes a row.
func (t Table) Row(cells ...string) { fmt.Fprintln(t, strings.Join(cells, "\t")) }

// Listed is how many things are printed of those that could fill a screen; JSON has
// all.
const Listed = 20

// More says that there are more things than are Listed.
func More(w io.Writer, all int) {
	if all > Listed {
		fmt.Fprintf(w, "  and %s more; --json lists all\n", Number(all-Listed))
	}
}
