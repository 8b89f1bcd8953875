package caddymodule

import (
	"fmt"
	"io"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/image"
)

// progressOutput tells of progress: in one line that is written again in a terminal,
// and in one line from time to time elsewhere. It is not safe for concurrent use.
type progressOutput struct {
	to       io.Writer
	terminal bool
	now      func() time.Time

	began time.Time
	told  time.Time
	stood bool // a line that is to be written again
}

func newProgressOutput(to io.Writer) *progressOutput {
	return &progressOutput{to: to, terminal: isTerminal(to), now: time.Now, began: time.Now(), told: time.Now()}
}

// say writes a line that stays.
func (l *progressOutput) say(format string, args ...any) {
	l.end()
	fmt.Fprintf(l.to, format+"\n", args...)
}

// tell writes a line of progress, if it is time to.
func (l *progressOutput) tell(line string) {
	every := progressPlain
	if l.terminal {
		every = progressTerminal
	}
	now := l.now()
	if now.Sub(l.told) < every {
		return
	}
	l.told = now
	if l.terminal {
		l.stood = true
		fmt.Fprintf(l.to, "\r\x1b[K%s", line)
	} else {
		fmt.Fprintln(l.to, line)
	}
}

// end leaves the line.
func (l *progressOutput) end() {
	if l.stood {
		fmt.Fprint(l.to, "\r\x1b[K")
	}
	l.stood = false
}

// since returns how long it has taken.
func (l *progressOutput) since() time.Duration { return l.now().Sub(l.began) }

func verifyingLine(p image.VerifyProgress, since time.Duration) string {
	line := fmt.Sprintf("%s of %s", humanize.Comma(int64(p.Images)), counted(p.Total, "image"))
	switch {
	case p.TotalBytes > 0:
		line += ", " + readLine(p.Bytes, p.TotalBytes, since)
	case p.Bytes > 0:
		line += ", " + size(p.Bytes) + " read"
	}
	return line
}
