package mirror_test

import (
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// lines keeps what is logged.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// An upstream that cuts every answer off costs ever fewer requests in a time, and one
// line in the log. If something comes each time, the blob comes in the end.
func TestCutAfterCut(t *testing.T) { inBothModes(t, testCutAfterCut) }

func testCutAfterCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		each    int
		whole   bool
		gets    int
		atLeast time.Duration
	}{
		{"next to nothing", 256, false, 31, 14 * time.Second}, // half of each pause is at random
		{"some", 300 << 10, true, 21, 5 * time.Second},
		{"enough", mib, true, 6, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFixture(t)
			f.close()
			var log lines
			f.log = slog.NewTextHandler(&log, nil)
			f.open()
			pauses := f.cache.CountWaits()
			want := registrytest.Random(1, 6*mib)
			d := f.upstream.PutBlob(repository, want)
			f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
				next(&cut{ResponseWriter: w, left: test.each}, r)
			})
			if test.each == mib {
				f.upstream.Hook(registrytest.Spoil{After: int64(test.each), Cut: true}.Hook())
			}
			_, _, err := f.pull(t.Context(), blobRequest(d))
			if (err == nil) != test.whole {
				t.Errorf("got %v", err)
			}
			if n := f.upstream.Count(http.MethodGet, "blobs"); n > test.gets {
				t.Errorf("%d GETs, want %d", n, test.gets)
			}
			if p := pauses(); p < test.atLeast || p > time.Minute {
				t.Errorf("%s in pauses", p)
			}
			if n := log.count("blob is cut off"); n != 1 {
				t.Errorf("%d lines", n)
			}
		})
	}
}

// The same where the store takes nothing, and each reader asks for itself.
func TestCutAfterCutPastTheStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cache.FailParts(-1, errNoStore)
	pauses := f.cache.CountWaits()
	want := registrytest.Random(1, 4*mib)
	d := f.upstream.PutBlob(repository, want)
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&cut{ResponseWriter: w, left: 256}, r)
	})
	if raw, _, err := f.pull(t.Context(), blobRequest(d)); err == nil {
		t.Errorf("%d bytes", len(raw))
	}
	if n := f.upstream.Count(http.MethodGet, "blobs"); n > 31 || pauses() < 10*time.Second {
		t.Errorf("%d GETs, %s in pauses", n, pauses())
	}
}

var errNoStore = oci.NewError(oci.CodeUnavailable, "no store")
