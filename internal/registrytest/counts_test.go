package registrytest

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestCounts counts by host, method, kind and status, also when a Reset comes between a
// request and its end.
func TestCounts(t *testing.T) {
	t.Parallel()
	var c Counts
	ask := func(host Host, method, kind string) func(*countingWriter) {
		return c.begin(host, kind, httptest.NewRequest(method, "/v2/", http.NoBody))
	}
	ask(HostRegistry, "GET", "ping")(&countingWriter{status: http.StatusUnauthorized})
	ask(HostToken, "GET", "token")(&countingWriter{status: http.StatusOK, bytes: 5})
	ask(HostRegistry, "HEAD", "blobs")(&countingWriter{status: http.StatusTemporaryRedirect, bytes: 9})
	ask(HostCDN, "GET", "blobs")(&countingWriter{status: http.StatusPartialContent, bytes: 7})
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
	end := ask(HostRegistry, "GET", "tags")
	c.Reset()
	if end(&countingWriter{status: http.StatusOK}); len(c.Requests()) != 0 {
		t.Errorf("after Reset: %v", c.Requests())
	}
}
