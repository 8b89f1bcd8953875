package mirror_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// late answers requests for blobs no sooner than open is closed.
func late(open <-chan struct{}) registrytest.Hook {
	return func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if isBlob(r) {
			select {
			case <-open:
			case <-r.Context().Done():
				return
			}
		}
		next(w, r)
	}
}

// Where the upstream takes long to begin, the size that the manifest tells is enough
// for a header. If it is wrong, or the upstream refuses, the body is cut off.
func TestHeaderBeforeTheUpstreams(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1000, 3 * mib} {
		for name, test := range map[string]struct {
			told   int
			status int
		}{
			"as told": {size, 0}, "longer": {size - 1, 0}, "shorter": {size + 1, 0},
			"not found": {size, http.StatusNotFound}, "limited": {size, http.StatusTooManyRequests},
		} {
			t.Run(name, func(t *testing.T) {
				f := newFixture(t)
				f.cache.TellAfter(10 * time.Millisecond)
				want := registrytest.Random(1, size)
				d := f.upstream.PutBlob(repository, want)
				f.namedBy(repository, d, test.told)
				f.upstream.Reset()
				open := make(chan struct{})
				answers := func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					if test.status != 0 {
						next = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.status) }
					}
					late(open)(w, r, next)
				}
				f.upstream.Hook(answers)
				b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
				if err != nil || b.Size != int64(test.told) {
					t.Fatalf("%d bytes, %v", b.Size, err)
				}
				defer b.Content.Close()
				close(open)
				raw, err := io.ReadAll(b.Content)
				if good := test.told == size && test.status == 0; good != (err == nil) || good && !bytes.Equal(raw, want) {
					t.Errorf("%d bytes of %d, %v", len(raw), size, err)
				}
				f.saw(0, 1)
			})
		}
	}
}

// Nobody is told a size before the upstream has begun while it is asked again after
// a refusal, or where nobody has told one.
func TestHeaderWaitsForTheUpstream(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]registrytest.Hook{
		"asked again": func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Retry-After", "10")
			w.WriteHeader(http.StatusTooManyRequests)
		},
		"no size": func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) { next(chunked{w}, r) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.cache.TellAfter(0)
			pauses := f.cache.CountWaits()
			d := f.upstream.PutBlob(repository, registrytest.Random(1, 3*mib))
			if name == "asked again" {
				f.namedBy(repository, d, 3*mib)
			}
			f.upstream.Reset()
			f.upstream.Hook(hook)
			raw, _, err := f.pull(t.Context(), blobRequest(d))
			if name == "no size" {
				if err != nil || len(raw) != 3*mib {
					t.Errorf("%d bytes, %v", len(raw), err)
				}
				f.saw(0, 1)
				return
			}
			wantStatus(t, err, http.StatusTooManyRequests)
			if oci.AsError(err).RetryAfter != 10*time.Second || pauses() != 20*time.Second {
				t.Errorf("%v after %s", err, pauses())
			}
			f.saw(0, 3)
		})
	}
}

// An upstream that asks for a short pause, since it is just fetching the blob itself,
// is asked again; for a longer one than a client has time, it is not.
func TestShortPauses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		retryAfter string
		refusals   int
		gets       int
		pauses     time.Duration
	}{{"10", 2, 3, 20 * time.Second}, {"10", 3, 3, 20 * time.Second}, {"26", 1, 1, 0}} {
		f := newFixture(t)
		pauses := f.cache.CountWaits()
		want := registrytest.Random(1, 1000)
		r := blobRequest(f.upstream.PutBlob(repository, want))
		f.upstream.On(registrytest.Rule{Kind: "blobs", Times: test.refusals, Hook: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Retry-After", test.retryAfter)
			w.WriteHeader(http.StatusTooManyRequests)
		}})
		raw, _, err := f.pull(t.Context(), r)
		if test.gets > test.refusals {
			if err != nil || !bytes.Equal(raw, want) {
				t.Errorf("%d bytes, %v", len(raw), err)
			}
		} else {
			wantStatus(t, err, http.StatusTooManyRequests)
		}
		if pauses() != test.pauses {
			t.Errorf("%s in pauses, want %s", pauses(), test.pauses)
		}
		f.saw(0, test.gets)
	}
}

// A pause keeps the real client quiet for as long as it lasts, and no longer.
func TestShortPauseOfTheClient(t *testing.T) { bubble(testShortPauseOfTheClient)(t) }

func testShortPauseOfTheClient(t *testing.T) {
	f := newFixture(t)
	f.clock.run()
	f.connect(upstream.Options{})
	want := registrytest.Random(1, 1000)
	r := blobRequest(f.upstream.PutBlob(repository, want))
	f.upstream.On(registrytest.Rule{Kind: "blobs", Times: 1, Hook: func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}})
	f.mustPull(r, want, oci.ResultMiss)
	f.saw(0, 2)
}
