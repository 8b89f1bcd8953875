package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// filling is a blob that may never be verified.
type filling struct {
	*fill

	trust oci.Trust // of ranges
	// passes is what a Read of them comes to, unless it is nil.
	passes   func() error
	verified <-chan struct{} // nil = at once
	failure  error
	part     atomic.Bool
	ends     [2]int64 // of what was selected first
}

func (f *filling) Select(offset, end int64) error {
	if f.ends == [2]int64{} {
		f.ends = [2]int64{offset, end}
	}
	f.part.Store(end < f.Size())
	_, err := f.Seek(offset, io.SeekStart)
	return err
}

func (f *filling) Trust() oci.Trust {
	if !f.part.Load() {
		return oci.TrustVerified
	}
	return f.trust
}

func (f *filling) AwaitVerified() error {
	if f.verified != nil {
		<-f.verified
	}
	return f.failure
}

func (f *filling) Read(p []byte) (int, error) {
	if f.part.Load() && f.passes != nil {
		if err := f.passes(); err != nil {
			return 0, fmt.Errorf("read: %w", err)
		}
	}
	return f.fill.Read(p)
}

// request serves one request for content with a handler of its own.
func (f *filling) request(b []byte, ranges string) (answer *http.Response, body []byte, aborted bool) {
	f.fill = &fill{Reader: bytes.NewReader(b), piece: 10_000, closed: func() {}}
	m := &fakeMirror{status: oci.CacheStatus{Result: oci.ResultMiss, Stored: true}, blob: func(context.Context) oci.Blob {
		return oci.Blob{Digest: oci.Sum(b), Size: int64(len(b)), Content: f}
	}}
	r := httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+oci.Sum(b).String(), nil)
	if ranges != "" {
		r.Header.Set("Range", ranges)
	}
	w := httptest.NewRecorder()
	aborted = aborts(New(options(m)), w, r)
	return w.Result(), w.Body.Bytes(), aborted
}

// A range says that it is not verified, where it is not when it begins.
func TestUnverified(t *testing.T) {
	t.Parallel()
	b := testBytes(300_000)
	for ranges, want := range map[string]bool{
		"bytes=5-9": true, "bytes=0-99999": true, "bytes=5-9,100-200": true, "bytes=1-2,-5": true,
		"": false, "bytes=0-": false, "bytes=-5": false, "bytes=100-": false, "bytes=9-5": false,
	} {
		for _, trust := range []oci.Trust{oci.TrustNone, oci.TrustVerified, oci.TrustHeld} {
			f := &filling{trust: trust}
			answer, body, aborted := f.request(b, ranges)
			status := "pullgate; fwd=miss; stored"
			if want && trust == oci.TrustNone {
				status += "; detail=unverified"
			}
			if got := answer.Header.Values("Cache-Status"); aborted || len(got) != 1 || got[0] != status {
				t.Errorf("%q, trust %d: %q, cut %t", ranges, trust, got, aborted)
			}
			switch {
			case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable:
			case strings.Contains(ranges, ","):
				piecesOf(t, answer, body, b, oci.MediaTypeOctetStream)
			case !bytes.Equal(body, b[f.ends[0]:f.ends[1]]):
				t.Errorf("%q: %d wrong bytes", ranges, len(body))
			}
		}
	}
}

// Where ranges have to be verified, the end of the first one waits for that, and so
// does all that comes after it.
func TestHeldRanges(t *testing.T) {
	t.Parallel()
	b := testBytes(300_000)
	for ranges, most := range map[string]int{
		"bytes=0-199999": 200_000 - heldBack, "bytes=7-10": 0, "bytes=0-65535": 0, "bytes=0-65536": 1,
		"bytes=1-3,100000-299999": 0, "bytes=0-99999,200000-200010": 300 + 100_000 - heldBack,
	} {
		t.Run(ranges, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				verified := make(chan struct{})
				f := &filling{trust: oci.TrustHeld, verified: verified}
				go func() {
					time.Sleep(2 * headerPatience)
					synctest.Wait() // whatever can be sent was read by now
					at := f.Size() - int64(f.Len()) - f.ends[0]
					if at > int64(most) || most > 300 && at < int64(most)-300 {
						t.Errorf("%d bytes were read of a blob that is not verified, want %d", at, most)
					}
					close(verified)
				}()
				answer, _, aborted := f.request(b, ranges)
				if aborted || answer.StatusCode != http.StatusPartialContent || strings.Contains(answer.Header.Get("Cache-Status"), "detail") {
					t.Errorf("%s, cut %t: %v", answer.Status, aborted, answer.Header)
				}
			})
			bad := errors.New("wrong digest")
			f := &filling{trust: oci.TrustHeld, failure: bad}
			answer, body, aborted := f.request(b, ranges)
			if most == 0 && (aborted || answer.StatusCode < 500) || most > 0 && (!aborted || len(body) > most) {
				t.Errorf("wrong blob: %s, cut %t after %d bytes", answer.Status, aborted, len(body))
			}
		})
	}
}

// A range that nothing can verify becomes the whole, or is cut off if it has begun.
func TestRangeBecomesWhole(t *testing.T) {
	t.Parallel()
	b := testBytes(300_000)
	lately := func() error {
		time.Sleep(2 * headerPatience)
		return oci.ErrPasses
	}
	for name, c := range map[string]struct {
		trust   oci.Trust
		passes  func() error
		failure error
		cut     bool
	}{
		"at the first byte":      {trust: oci.TrustNone, passes: func() error { return oci.ErrPasses }},
		"though there are bytes": {trust: oci.TrustWhole},
		"before it is verified":  {trust: oci.TrustHeld, failure: oci.ErrPasses},
		"after a long wait":      {trust: oci.TrustWhole, passes: lately},
		"behind a late header":   {trust: oci.TrustNone, passes: lately, cut: true},
	} {
		for _, ranges := range []string{"bytes=5-9", "bytes=0-999", "bytes=5-9,100-200"} {
			t.Run(name+" of "+ranges, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &filling{trust: c.trust, passes: c.passes, failure: c.failure}
					answer, body, aborted := f.request(b, ranges)
					if c.cut {
						if !aborted || len(body) > 0 {
							t.Errorf("%s, cut %t after %d bytes", answer.Status, aborted, len(body))
						}
						return
					}
					if aborted || answer.StatusCode != http.StatusOK || !bytes.Equal(body, b) {
						t.Errorf("%s, cut %t after %d bytes", answer.Status, aborted, len(body))
					}
					wantHeader(t, answer, http.Header{
						"Content-Range": nil, "Content-Length": {"300000"}, "Cache-Status": {"pullgate; fwd=miss"},
						"Content-Type": {oci.MediaTypeOctetStream},
					})
				})
			})
		}
	}
}
