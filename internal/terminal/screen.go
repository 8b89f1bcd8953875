package terminal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Screen prints what may change, once or again and again.
type Screen struct {
	To io.Writer
	// Watch says that it is printed again and again, and JSON how.
	Watch, JSON bool

	printed bool
}

// Print prints v as JSON, or its text; in a terminal that watches, in place of the one
// before.
func (s *Screen) Print(v any, text func(io.Writer)) error {
	var all bytes.Buffer
	switch {
	case s.JSON:
		encoder := json.NewEncoder(&all)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(v); err != nil {
			return err
		}
	case s.Watch && IsTerminal(s.To):
		fmt.Fprint(&all, "\x1b[H") // what stood there is overwritten, which does not flicker
		var now bytes.Buffer
		text(&now)
		all.Write(bytes.ReplaceAll(now.Bytes(), []byte("\n"), []byte("\x1b[K\n")))
		fmt.Fprint(&all, "\x1b[J")
	default:
		if s.printed {
			fmt.Fprintln(&all)
		}
		text(&all)
	}
	s.printed = true
	_, err := s.To.Write(all.Bytes())
	return err
}
