package registry

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// A blob that is elsewhere is a redirect for this time, without a body, and its size is
// not that of what was sent.
func TestBlobElsewhere(t *testing.T) {
	d := digest.FromString("blob")
	m := &fakeMirror{
		status: oci.CacheStatus{Result: oci.ResultMiss, Detail: "redirect"},
		blob: func(context.Context) oci.Blob {
			return oci.Blob{Digest: d, Size: 7, Location: "https://s3.example.com/b?sig"}
		},
	}
	var answer Answer
	o := options(m)
	o.OnDone = func(_ *http.Request, a *Answer) { answer = *a }
	w := httptest.NewRecorder()
	New(o).ServeHTTP(w, httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+d.String(), nil))
	if w.Code != http.StatusTemporaryRedirect || w.Body.Len() > 0 {
		t.Errorf("status %d with %d bytes", w.Code, w.Body.Len())
	}
	for name, want := range map[string]string{
		"Location": "https://s3.example.com/b?sig", "Docker-Content-Digest": d.String(), "Content-Length": "0",
		"Cache-Control": cacheNothing, "Cache-Status": "pullgate; fwd=miss; detail=redirect", "Accept-Ranges": "",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if answer.Status != http.StatusTemporaryRedirect || answer.Redirected != 7 || answer.Bytes != 0 || answer.Digest != d || answer.Err != nil || answer.Aborted {
		t.Errorf("%+v", answer)
	}
}
