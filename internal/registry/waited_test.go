package registry

import (
	"context"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// late takes its time before it answers, and before each piece.
type late struct {
	*fakeMirror
	answers, piece time.Duration
}

func (m late) Manifest(ctx context.Context, r oci.Request) (oci.Manifest, oci.CacheStatus, error) {
	time.Sleep(m.answers)
	return m.fakeMirror.Manifest(ctx, r)
}

func (m late) Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	time.Sleep(m.answers)
	b, status, err := m.fakeMirror.Blob(ctx, r)
	if b.File == nil && b.Content != nil {
		b.Content = lateContent{b.Content, m.piece}
	}
	return b, status, err
}

type lateContent struct {
	io.ReadSeekCloser
	piece time.Duration
}

func (c lateContent) Read(p []byte) (int, error) {
	time.Sleep(c.piece)
	return c.ReadSeekCloser.Read(p)
}

// A request has waited for what the cache did not have, whoever had it asked for, and not
// for a hit, nor for its own client.
func TestWaited(t *testing.T) {
	content := testBytes(300_000)
	filling, finished := fillBlob(content, 100_000, 0, nil), fileBlob(t, content)
	const manifest, blob = testPrefix + "/manifests/latest", testPrefix + "/blobs/"
	of := blob + oci.Sum(content).String()
	for name, test := range map[string]struct {
		result oci.Result
		path   string
		blob   func(context.Context) oci.Blob
		err    error
		want   time.Duration
	}{
		"hit":      {oci.ResultHit, manifest, nil, nil, 0},
		"miss":     {oci.ResultMiss, manifest, nil, nil, 3 * time.Second},
		"joined":   {oci.ResultJoined, manifest, nil, nil, 3 * time.Second},
		"stale":    {oci.ResultStale, manifest, nil, nil, 3 * time.Second},
		"refused":  {oci.ResultMiss, manifest, nil, &oci.Error{Code: oci.CodeManifestUnknown, Status: http.StatusNotFound}, 3 * time.Second},
		"finished": {oci.ResultHit, of, finished, nil, 0},
		"filling":  {oci.ResultMiss, of, filling, nil, 8 * time.Second}, // in five buffers
		"ping":     {oci.ResultMiss, "/v2/", nil, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := late{&fakeMirror{status: oci.CacheStatus{Result: test.result}, manifest: testManifest([]byte("{}")), blob: test.blob, err: test.err}, 3 * time.Second, time.Second}
				o := options(m)
				var waited time.Duration
				o.OnDone = func(_ *http.Request, a *Answer) { waited = a.Waited }
				record(New(o), http.MethodGet, test.path)
				if waited != test.want {
					t.Errorf("it has waited %v, want %v", waited, test.want)
				}
			})
		})
	}
}
