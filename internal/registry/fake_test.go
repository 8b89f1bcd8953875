package registry

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const testPrefix = "/v2/proxy-ghcr.io/a/b"

// fakeMirror answers every request of a kind with the same thing. err goes
// before all else.
type fakeMirror struct {
	status    oci.CacheStatus
	err       error
	manifest  oci.Manifest
	blob      func(ctx context.Context) oci.Blob
	tags      oci.TagList
	referrers []oci.Descriptor

	mu       sync.Mutex
	requests []oci.Request
	pages    []oci.TagsPage
}

func (m *fakeMirror) note(r oci.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests = append(m.requests, r)
}

func (m *fakeMirror) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.requests)
}

func (m *fakeMirror) StatManifest(_ context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	m.note(r)
	return m.manifest.Descriptor(), m.status, m.err
}

func (m *fakeMirror) Manifest(_ context.Context, r oci.Request) (oci.Manifest, oci.CacheStatus, error) {
	m.note(r)
	return m.manifest, m.status, m.err
}

func (m *fakeMirror) StatBlob(ctx context.Context, r oci.Request) (oci.Descriptor, oci.CacheStatus, error) {
	m.note(r)
	if m.err != nil {
		return oci.Descriptor{}, m.status, m.err
	}
	b := m.blob(ctx)
	_ = b.Content.Close()
	return oci.Descriptor{Digest: b.Digest, Size: b.Size}, m.status, nil
}

func (m *fakeMirror) Blob(ctx context.Context, r oci.Request) (oci.Blob, oci.CacheStatus, error) {
	m.note(r)
	if m.err != nil {
		return oci.Blob{}, m.status, m.err
	}
	return m.blob(ctx), m.status, nil
}

func (m *fakeMirror) Tags(_ context.Context, r oci.Request, page oci.TagsPage) (oci.TagList, oci.CacheStatus, error) {
	m.note(r)
	m.mu.Lock()
	m.pages = append(m.pages, page)
	m.mu.Unlock()
	return m.tags, m.status, m.err
}

func (m *fakeMirror) Referrers(_ context.Context, r oci.Request) ([]oci.Descriptor, oci.CacheStatus, error) {
	m.note(r)
	return m.referrers, m.status, m.err
}

// testBytes returns n bytes that are the same in every run.
func testBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// fileBlob returns a blob that lies finished in a file.
func fileBlob(t testing.TB, b []byte) func(context.Context) oci.Blob {
	t.Helper()
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	d := digest.FromBytes(b)
	return func(context.Context) oci.Blob {
		file, err := os.Open(name)
		if err != nil {
			t.Error(err)
		}
		return oci.Blob{Digest: d, Size: int64(len(b)), Content: file, File: file}
	}
}

// fillBlob returns a blob that is under way: its bytes come in pieces of the
// given size, and after the first limit of them the reader fails with err.
func fillBlob(b []byte, piece, limit int, err error) func(context.Context) oci.Blob {
	d := digest.FromBytes(b)
	return func(context.Context) oci.Blob {
		return oci.Blob{Digest: d, Size: int64(len(b)), Content: &fill{
			Reader: bytes.NewReader(b), piece: piece, limit: int64(limit), err: err, closed: func() {},
		}}
	}
}

type fill struct {
	*bytes.Reader
	piece  int
	limit  int64
	err    error
	closed func()
}

func (f *fill) Read(p []byte) (int, error) {
	at := f.Size() - int64(f.Len())
	if f.err != nil && at >= f.limit {
		return 0, f.err
	}
	n := min(int64(len(p)), int64(f.piece))
	if f.err != nil {
		n = min(n, f.limit-at)
	}
	return f.Reader.Read(p[:n])
}

func (f *fill) WriteTo(io.Writer) (int64, error) {
	return 0, errors.New("the wire must not call WriteTo")
}

func (f *fill) Close() error { f.closed(); return nil }

func testManifest(b []byte) oci.Manifest {
	return oci.Manifest{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(b), Bytes: b}
}

// options serve m for the upstreams of testUpstreams.
func options(m Mirror) Options { return Options{Mirror: m, Router: NewRouter(testUpstreams(), "")} }

// serve starts a server with h: HTTP/1.1 on cleartext, or HTTP/2 on TLS.
func serve(t testing.TB, h http.Handler, h2 bool) (*httptest.Server, *http.Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	if h2 {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	client := server.Client()
	transport := client.Transport.(*http.Transport)
	transport.DisableCompression = true
	if h2 {
		transport.ForceAttemptHTTP2 = true
		transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	}
	client.Timeout = 20 * time.Second
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("redirected") }
	return server, client
}

// ask sends one request and returns the answer with all of its body.
func ask(t testing.TB, client *http.Client, method, url string, header http.Header) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	answer, err := client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	return answer, body, err
}

// record serves one request without a network.
func record(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}
