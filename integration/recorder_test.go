//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// recorder is a client that believes nothing. Whatever it asks, a body that ends
// cleanly has to be the right one, to the last byte; anything else fails the
// test. It is safe for concurrent use.
//
// It also keeps what the gateway has acknowledged as cached: what was answered
// with a hit. (That a miss is going to be stored is said before its last byte
// came, and so is no promise.)
type recorder struct {
	t      *testing.T
	base   string // http://host:port
	client *http.Client
	// reloads says that the gateway is being reloaded.
	reloads atomic.Bool

	mu       sync.Mutex
	outcomes map[string]int
	wrong    int
	acked    map[string]acknowledged // by path
}

type acknowledged struct {
	object
	at time.Time // the first hit
}

// answer is one answer. Its outcome is a status and what Cache-Status says, or cut
// for a body that ended too early, or refused where there was no answer.
type answer struct {
	status  int
	cache   string
	bytes   int64
	err     error // no clean end
	outcome string
	took    time.Duration
}

// right reports whether it was answered, completely.
func (a answer) right() bool { return a.err == nil && a.status/100 == 2 }

// hit reports whether the whole answer came from the cache.
func (a answer) hit() bool { return a.right() && strings.HasPrefix(a.cache, "pullgate; hit") }

func newRecorder(t *testing.T, base string) *recorder {
	t.Helper()
	transport := &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 100, DisableCompression: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	r := &recorder{t: t, base: base, outcomes: make(map[string]int), acked: make(map[string]acknowledged)}
	r.client = &http.Client{Transport: repeating{transport, r}, Timeout: time.Minute}
	return r
}

// repeating asks once more where a connection ended before there was an answer on
// it, as clients do. A reload of Caddy opens a second socket on the address: what
// waits to be accepted by the first is reset. And what was just accepted, the
// server of the standard library closes unanswered when it is shut down.
type repeating struct {
	*http.Transport

	r *recorder
}

func (t repeating) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.Transport.RoundTrip(request)
	if t.r.reloads.Load() && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)) {
		t.r.mu.Lock()
		t.r.outcomes["reset, and repeated"]++
		t.r.mu.Unlock()
		response, err = t.Transport.RoundTrip(request)
	}
	return response, err
}

// get asks for the whole of an object.
func (r *recorder) get(ctx context.Context, o object) answer {
	return r.ask(ctx, http.MethodGet, o, 0, o.size)
}

// getRange asks for the bytes [start, end).
func (r *recorder) getRange(ctx context.Context, o object, start, end int64) answer {
	return r.ask(ctx, http.MethodGet, o, start, end)
}

func (r *recorder) head(ctx context.Context, o object) answer {
	return r.ask(ctx, http.MethodHead, o, 0, o.size)
}

func (r *recorder) ask(ctx context.Context, method string, o object, start, end int64) (a answer) {
	began := time.Now()
	defer func() {
		a.took = time.Since(began)
		r.record(method, o, a, start == 0 && end == o.size)
	}()
	request, err := http.NewRequestWithContext(ctx, method, r.base+o.path, nil)
	if err != nil {
		return answer{err: err, outcome: "refused"}
	}
	whole := start == 0 && end == o.size
	if !whole {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", start, end-1))
	}
	response, err := r.client.Do(request)
	if err != nil {
		return answer{err: err, outcome: "refused"}
	}
	defer response.Body.Close()
	a = answer{status: response.StatusCode, cache: response.Header.Get("Cache-Status")}
	a.outcome = strconv.Itoa(a.status) + " " + cacheWord(a.cache)
	if a.status/100 != 2 {
		a.bytes, a.err = io.Copy(io.Discard, response.Body)
		return a
	}
	if whole != (a.status == http.StatusOK) || response.ContentLength != end-start {
		r.fail("%s %s [%d, %d): %s with Content-Length %d", method, o.path, start, end, response.Status, response.ContentLength)
	}
	if got := response.Header.Get("Docker-Content-Digest"); got != o.digest.String() {
		r.fail("%s %s: Docker-Content-Digest %q, want %s", method, o.path, got, o.digest)
	}
	if method == http.MethodHead {
		return a
	}
	if a.bytes, a.err = r.compare(response.Body, o, start, end); a.err != nil {
		a.outcome = "cut"
	}
	return a
}

// compare reads a body to its end. A clean one is the right one.
func (r *recorder) compare(body io.Reader, o object, start, end int64) (int64, error) {
	hash := digest.SHA256.Digester()
	var seen bytes.Buffer
	into := io.Writer(hash.Hash())
	if whole := start == 0 && end == o.size; !whole {
		into = &seen
	}
	n, err := io.Copy(into, body)
	switch {
	case err != nil:
	case into == &seen && !bytes.Equal(seen.Bytes(), o.content()[start:end]),
		into != &seen && (n != o.size || hash.Digest() != o.digest):
		r.fail("%s [%d, %d): a clean end after %d wrong bytes", o.path, start, end, n)
	}
	return n, err
}

func (r *recorder) fail(format string, args ...any) {
	r.mu.Lock()
	r.wrong++
	r.mu.Unlock()
	r.t.Errorf(format, args...)
}

func (r *recorder) record(method string, o object, a answer, whole bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outcomes[method+" "+a.outcome]++
	if _, known := r.acked[o.path]; !known && whole && a.hit() && !strings.Contains(a.cache, "stale") {
		r.acked[o.path] = acknowledged{o, time.Now()}
	}
}

// pull gets all of an image, and asks once more for what was not cached, so that
// the gateway acknowledges what it has stored. The answer is the first that was
// not right, or the last.
func (r *recorder) pull(ctx context.Context, s sample) (a answer) {
	for _, o := range s {
		if a = r.get(ctx, o); !a.right() {
			return a
		}
	}
	for _, o := range s {
		if r.wasAcked(o) || ctx.Err() != nil {
			continue
		}
		if seen := r.head(ctx, o); !seen.right() {
			return seen
		}
	}
	return a
}

func (r *recorder) wasAcked(o object) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, known := r.acked[o.path]
	return known
}

// acknowledged returns what was acknowledged as cached, the oldest first.
func (r *recorder) acknowledged() []acknowledged {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.acked), func(a, b acknowledged) int { return a.at.Compare(b.at) })
}

// summary returns how often each outcome was seen.
func (r *recorder) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	for _, outcome := range slices.Sorted(maps.Keys(r.outcomes)) {
		fmt.Fprintf(&b, "%s: %d; ", outcome, r.outcomes[outcome])
	}
	return fmt.Sprintf("%sacknowledged: %d; wrong: %d", b.String(), len(r.acked), r.wrong)
}

// cacheWord shortens a Cache-Status to one word.
func cacheWord(status string) string {
	switch {
	case strings.Contains(status, "stale"):
		return "stale"
	case strings.HasPrefix(status, "pullgate; hit"):
		return "hit"
	case strings.Contains(status, "collapsed"):
		return "joined"
	case strings.Contains(status, "fwd=miss"):
		return "miss"
	}
	return "-"
}
