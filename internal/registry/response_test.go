package registry

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestResponse has a response count what it writes, tell once of its header, and keep
// the values of headers apart.
func TestResponse(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	told := 0
	x := &response{w: w, r: httptest.NewRequest(http.MethodGet, "/", nil), onHeader: func(_ *http.Request, a *Answer) {
		if told++; a.Status != http.StatusOK || a.Bytes != 0 {
			t.Errorf("the header is %+v", a)
		}
	}}
	for n := range 12 { // more than there is space for
		x.set("X-"+string(rune('A'+n)), string(rune('a'+n)))
	}
	if err := x.sendBytes(http.StatusOK, []byte("12345")); err != nil || !x.committed {
		t.Fatalf("committed %t, %v", x.committed, err)
	}
	if err := x.copy(strings.NewReader("67890"), 3, true); err != nil {
		t.Fatal(err)
	}
	if told != 1 || x.answer.Bytes != 8 || w.Body.String() != "12345678" {
		t.Errorf("told %d times, %d bytes: %q", told, x.answer.Bytes, w.Body)
	}
	for n := range 12 {
		if got := w.Header().Get("X-" + string(rune('A'+n))); got != string(rune('a'+n)) {
			t.Errorf("header %d is %q", n, got)
		}
	}
}

// TestResponseEnds has none of it written once its time is over.
func TestResponseEnds(t *testing.T) {
	t.Parallel()
	until, end := context.WithCancel(t.Context())
	w := httptest.NewRecorder()
	x := &response{w: w, r: httptest.NewRequest(http.MethodGet, "/", nil), until: until}
	if err := x.write([]byte("1")); err != nil {
		t.Fatal(err)
	}
	end()
	if err := x.write([]byte("2")); !errors.Is(err, errExiting) || w.Body.String() != "1" {
		t.Errorf("%q was written: %v", w.Body, err)
	}
}
