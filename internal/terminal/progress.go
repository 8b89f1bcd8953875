package command

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

// progress tells what is going on: in lines that stay, and in lines of progress. Its
// methods are safe for concurrent use.
type progress struct {
	to       io.Writer
	terminal bool
	now      func() time.Time

	mu    sync.Mutex
	began time.Time
	shown time.Time // when progress last was
	lines int       // that are to be written again
}

func newProgress(to io.Writer) *progress {
	p := &progress{to: to, terminal: isTerminal(to), now: time.Now}
	p.begin()
	return p
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// begin begins with something new: the time counts from now on.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began, p.shown = p.now(), p.now()
	if p.terminal {
		p.shown = time.Time{}
	}
}

// since returns how long it has taken.
func (p *progress) since() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now().Sub(p.began)
}

// say writes a line that stays.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	fmt.Fprintf(p.to, format+"\n", args...)
}

// show writes a line of progress, if it is time to. In a terminal, bars stand above it.
func (p *progress) show(line string, bars ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	every := progressPlain
	if p.terminal {
		every = progressTerminal
	}
	now := p.now()
	if now.Sub(p.shown) < every {
		return
	}
	p.shown = now
	switch {
	case !p.terminal:
		fmt.Fprintln(p.to, line)
	case len(bars) == 0 && p.lines <= 1:
		p.lines = 1
		fmt.Fprintf(p.to, "\r\x1b[K%s", line)
	default:
		p.clear()
		// Lines that are longer than the terminal is wide are cut, not wrapped.
		fmt.Fprintf(p.to, "\x1b[?7l%s\x1b[?7h", strings.Join(append(bars, line), "\n")+"\n")
		p.lines = len(bars) + 2
	}
}

// end takes the progress away.
func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

func (p *progress) clear() {
	switch {
	case p.lines == 1: // the cursor stands in it
		fmt.Fprint(p.to, "\r\x1b[K")
	case p.lines > 1:
		fmt.Fprintf(p.to, "\x1b[%dA\r\x1b[J", p.lines-1)
	}
	p.lines = 0
}
