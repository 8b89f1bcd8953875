package registrytest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestCounts counts by host, method, kind and status, also when a Reset comes between a
// request and its end.
func TestCounts(t *testing.T) {
	t.Parallel()
	var c Counts
	ask := func(host Host, method, kind string) *countingWriter {
		return c.begin(host, kind, httptest.NewRecorder(), httptest.NewRequest(method, "/v2/", http.NoBody))
	}
	answer := func(w *countingWriter, status, bytes int) {
		w.WriteHeader(status)
		_, _ = w.Write(make([]byte, bytes))
	}
	answer(ask(HostRegistry, "GET", "ping"), http.StatusUnauthorized, 0)
	answer(ask(HostToken, "GET", "token"), http.StatusOK, 5)
	answer(ask(HostRegistry, "HEAD", "blobs"), http.StatusTemporaryRedirect, 9)
	answer(ask(HostCDN, "GET", "blobs"), http.StatusPartialContent, 7)
	for what, x := range map[string][2]int{
		"all but the CDN's": {c.Count("", ""), 3},
		"GETs":              {c.Count("GET", ""), 2},
		"blobs at the CDN":  {c.CountHost(HostCDN, "", "blobs"), 1},
		"accepted":          {c.Accepted("", ""), 2},
		"bytes of blobs":    {int(c.BlobBytes()), 7},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: %d, want %d", what, x[0], x[1])
		}
	}
	w := ask(HostRegistry, "GET", "tags")
	c.Reset()
	if answer(w, http.StatusOK, 1); len(c.Requests()) != 0 {
		t.Errorf("after Reset: %v", c.Requests())
	}
}

// watched tells what is counted when an answer goes out, of which it takes a part.
type watched struct {
	http.ResponseWriter

	counts *Counts
	seen   []Request
}

func (w *watched) WriteHeader(int) { w.seen = append(w.seen, w.counts.Requests()...) }

func (w *watched) Write(p []byte) (int, error) {
	w.seen = append(w.seen, w.counts.Requests()...)
	return len(p) / 2, io.ErrShortWrite
}

// TestAnswersAreCountedBeforeTheyGoOut: whoever has an answer finds it counted, though its
// handler has not returned; what did not go out is not counted in the end.
func TestAnswersAreCountedBeforeTheyGoOut(t *testing.T) {
	t.Parallel()
	var c Counts
	out := &watched{ResponseWriter: httptest.NewRecorder(), counts: &c}
	w := c.begin(HostRegistry, "blobs", out, httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(make([]byte, 10))
	for i, bytes := range []int64{0, 10} {
		if seen := out.seen[i]; seen.Status != http.StatusPartialContent || seen.Bytes != bytes {
			t.Errorf("when it went out, counted was %v, want %d bytes", seen, bytes)
		}
	}
	if n := c.BlobBytes(); n != 5 {
		t.Errorf("%d bytes are counted, and 5 went out", n)
	}
	implicit := c.begin(HostRegistry, "tags", httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/v2/", http.NoBody))
	_, _ = implicit.Write(make([]byte, 3))
	if last := c.Requests()[1]; last.Status != http.StatusOK || last.Bytes != 3 {
		t.Errorf("without a WriteHeader: %v", last)
	}
}
