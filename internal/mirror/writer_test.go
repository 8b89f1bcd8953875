package mirror_test

import (
	"net/http"
	"strings"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// gate is an answer that goes no further than at bytes until open is closed, and
// tells once it got there.
type gate struct {
	http.ResponseWriter

	left    int
	reached func()
	open    <-chan struct{}
	gone    <-chan struct{}
}

func (g *gate) Write(p []byte) (int, error) {
	if len(p) <= g.left {
		g.left -= len(p)
		return g.ResponseWriter.Write(p)
	}
	n, err := g.ResponseWriter.Write(p[:g.left])
	if err != nil {
		return n, err
	}
	g.left = 1 << 62
	_ = http.NewResponseController(g.ResponseWriter).Flush()
	g.reached()
	select {
	case <-g.open:
	case <-g.gone:
	}
	m, err := g.ResponseWriter.Write(p[n:])
	return n + m, err
}

// gated makes every GET of a blob wait at so many bytes of its answer.
func gated(at int, reached func(), open <-chan struct{}) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) {
			w = &gate{ResponseWriter: w, left: at, reached: reached, open: open, gone: r.Context().Done()}
		}
		next(w, r)
	}
}

// cut ends a connection after so many bytes of an answer.
type cut struct {
	http.ResponseWriter

	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) < c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// slow sends rate bytes a second.
type slow struct {
	http.ResponseWriter

	rate  int
	began time.Time
	sent  int
}

func (s *slow) Write(p []byte) (int, error) {
	n, err := s.ResponseWriter.Write(p)
	s.sent += n
	time.Sleep(time.Until(s.began.Add(time.Duration(s.sent) * time.Second / time.Duration(s.rate))))
	return n, err
}

// noRanges is an upstream that ignores Range.
func noRanges(_ http.ResponseWriter, r *http.Request) { r.Header.Del("Range") }

// chunked hides the size of an answer.
type chunked struct{ http.ResponseWriter }

func (c chunked) WriteHeader(status int) {
	c.Header().Del("Content-Length")
	c.ResponseWriter.WriteHeader(status)
	_ = http.NewResponseController(c.ResponseWriter).Flush()
}

func isBlob(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
}
