package terminal

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// What is no terminal gets one text after the other, or one document.
func TestScreen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		json bool
		want string
	}{
		"text": {false, "one\n\ntwo\n"},
		"JSON": {true, "\"one\"\n\"two\"\n"},
	} {
		var b bytes.Buffer
		s := Screen{To: &b, Watch: true, JSON: test.json}
		for _, word := range []string{"one", "two"} {
			if err := s.Print(word, func(w io.Writer) { fmt.Fprintln(w, word) }); err != nil {
				t.Fatal(err)
			}
		}
		if b.String() != test.want {
			t.Errorf("%s: %q, want %q", name, b.String(), test.want)
		}
	}
}
