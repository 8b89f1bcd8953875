package registry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// bomb is a blob under way that panics behind its first bytes, or when it is read
// for longer than a time.
type bomb struct {
	io.ReadSeeker

	rest int
	wait time.Duration
}

func (b *bomb) Read(p []byte) (int, error) {
	time.Sleep(b.wait)
	if b.rest == 0 {
		panic("bug")
	}
	n := min(len(p), b.rest)
	b.rest -= n
	return n, nil
}

func (*bomb) Close() error { return nil }

func (b *bomb) blob(context.Context) oci.Blob {
	return oci.Blob{Digest: testDigest, Size: 1 << 20, Content: b}
}

// A panic costs one client its answer, which must not look like a good one:
// neither to the client, nor in the metrics.
func TestPanicOfTheMirror(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		blob     func(context.Context) oci.Blob
		onHeader func()
		status   int // 0 = it is cut
		meant    bool
	}{
		"before the header":     {blob: func(context.Context) oci.Blob { panic("bug") }, status: http.StatusInternalServerError},
		"at the first byte":     {blob: (&bomb{}).blob, status: http.StatusInternalServerError},
		"in the body":           {blob: (&bomb{rest: 100_000}).blob},
		"behind a late header":  {blob: (&bomb{wait: 2 * headerPatience}).blob},
		"in a late header":      {blob: (&bomb{rest: 1, wait: 2 * headerPatience}).blob, onHeader: func() { panic("bug") }},
		"somebody means to cut": {blob: func(context.Context) oci.Blob { panic(http.ErrAbortHandler) }, meant: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := options(&fakeMirror{blob: c.blob})
				var got Answer
				var log bytes.Buffer
				o.OnDone = func(_ *http.Request, a *Answer) { got = *a }
				o.OnHeader = func(*http.Request, *Answer) {
					if once := c.onHeader; once != nil {
						c.onHeader = nil
						once()
					}
				}
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				w := httptest.NewRecorder()
				aborted := aborts(New(o), w, httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil))
				if aborted != (c.status == 0) || got.Aborted != aborted || got.Panicked == c.meant {
					t.Errorf("aborted: %v, answer %+v", aborted, got)
				}
				if c.status != 0 && (w.Code != c.status || !strings.Contains(w.Body.String(), `"UNAVAILABLE"`) || strings.Contains(w.Body.String(), "bug")) {
					t.Errorf("answer %d %s", w.Code, w.Body)
				}
				if !c.meant && !strings.Contains(log.String(), "request panicked") || c.meant && strings.Contains(log.String(), "panic") {
					t.Errorf("logged: %s", &log)
				}
			})
		})
	}
}
