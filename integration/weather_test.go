//go:build integration

package integration

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// weather makes an upstream fail in every way at random, by turns with calm times.
// It is safe for concurrent use.
type weather struct {
	calm atomic.Bool
	// lasts is how long an upstream hangs that hangs.
	lasts time.Duration

	mu     sync.Mutex
	random *rand.Rand
	seen   map[string]int
}

// faults are what can happen to a request, each as likely as the others.
var faults = []string{"429", "500", "503", "404", "cut", "wrong bytes", "short", "hang", "slow", "html"}

// draw returns a fault, or "" for none.
func (w *weather) draw() (fault string, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = make(map[string]int)
	}
	if !w.calm.Load() && w.random.IntN(2) == 0 {
		fault = faults[w.random.IntN(len(faults))]
	}
	w.seen[fault]++
	return fault, w.random.Int64N(1 << 20)
}

// hook is a registrytest.Hook.
func (w *weather) hook(out http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	fault, n := w.draw()
	switch fault {
	case "429":
		out.Header().Set("Retry-After", "1")
		http.Error(out, "slow down", http.StatusTooManyRequests)
	case "500", "503", "404":
		status, _ := strconv.Atoi(fault)
		http.Error(out, `{"errors":[{"code":"UNKNOWN","message":"bad weather"}]}`, status)
	case "html":
		out.Header().Set("Content-Type", "text/html")
		_, _ = out.Write([]byte("<html>Please log in</html>"))
	case "cut":
		next(&faultyWriter{ResponseWriter: out, cutAfter: n, wrongAt: -1}, r)
	case "short":
		next(&faultyWriter{ResponseWriter: out, cutAfter: n % 1000, wrongAt: -1}, r)
	case "wrong bytes":
		next(&faultyWriter{ResponseWriter: out, cutAfter: -1, wrongAt: n % 4096}, r)
	case "hang":
		w.hang(r)
		panic(http.ErrAbortHandler)
	case "slow":
		next(&slowWriter{out, r.Context()}, r)
	default:
		next(out, r)
	}
}

func (w *weather) hang(r *http.Request) {
	late := time.NewTimer(w.lasts)
	defer late.Stop()
	select {
	case <-late.C:
	case <-r.Context().Done():
	}
}

// faultyWriter cuts the connection after some bytes, or gets one byte wrong; -1 =
// does not.
type faultyWriter struct {
	http.ResponseWriter
	cutAfter, wrongAt int64
	sent              int64
}

func (w *faultyWriter) Write(p []byte) (int, error) {
	if w.cutAfter >= 0 && w.sent+int64(len(p)) > w.cutAfter {
		_, _ = w.ResponseWriter.Write(p[:w.cutAfter-w.sent])
		panic(http.ErrAbortHandler)
	}
	if at := w.wrongAt - w.sent; w.wrongAt >= 0 && at >= 0 && at < int64(len(p)) {
		p = append([]byte{}, p...)
		p[at] ^= 1
	}
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	return n, err
}
