package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// In a terminal, progress is written again and again in place, less often than
	// package image tells it; elsewhere it is a line from time to time.
	progressTerminal = 90 * time.Millisecond
	progressPlain    = 10 * time.Second
)

// Progress tells what is going on: in lines that stay, and in lines of progress. Its
// methods are safe for concurrent use.
type Progress struct {
	To io.Writer
	// InPlace says that progress is written again and again in one place.
	InPlace bool
	Now     func() time.Time

	mu    sync.Mutex
	began time.Time
	shown time.Time // when progress last was
	lines int       // that are to be written again
}

// NewProgress returns progress that begins now.
func NewProgress(to io.Writer) *Progress {
	p := &Progress{To: to, InPlace: IsTerminal(to), Now: time.Now}
	p.Begin()
	return p
}

// IsTerminal reports whether a person reads what is written there.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Begin begins with something new: the time counts from now on.
func (p *Progress) Begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.shown = p.Now(), p.Now()
	if p.InPlace {
		p.shown = time.Time{}
	}
}

// Since returns how long it has taken.
func (p *Progress) Since() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Now().Sub(p.began)
}

// Say writes a line that stays.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.To, format+"\n", args...)
}

// Show writes a line of progress, if it is time to. In a terminal, bars stand above it.
func (p *Progress) Show(line string, bars ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := progressPlain
	if p.InPlace {
		every = progressTerminal
	}
	now := p.Now()
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	switch {
	case !p.InPlace:
		fmt.Fprintln(p.To, line)
	case len(bars) == 0 && p.lines <= 1:
		p.lines = 1
		fmt.Fprintf(p.To, "\r\x1b[K%s", line)
	default:
		p.clear()
		// Lines that are longer than the terminal is wide are cut, not wrapped.
		fmt.Fprintf(p.To, "\x1b[?7l%s\x1b[?7h", strings.Join(append(bars, line), "\n")+"\n")
		p.lines = len(bars) + 2
	}
}

// End takes the progress away.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *Progress) clear() {
	switch {
	case p.lines == 1: // the cursor stands in it
		fmt.Fprint(p.To, "\r\x1b[K")
	case p.lines > 1:
		fmt.Fprintf(p.To, "\x1b[%dA\r\x1b[J", p.lines-1)
	}
	p.lines = 0
}
