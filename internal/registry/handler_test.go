package registry

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// lockedBuffer is a log that the server writes and the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// wantHeader compares the given fields; nil = the field is not there.
func wantHeader(t *testing.T, answer *http.Response, want http.Header) {
	t.Helper()
	for name, values := range want {
		if got := answer.Header[name]; strings.Join(got, "|") != strings.Join(values, "|") {
			t.Errorf("%s is %q, want %q", name, got, values)
		}
	}
}

// checkDocument fails unless an answer is a whole error document of the code.
func checkDocument(t *testing.T, answer *http.Response, body []byte, code oci.Code) {
	t.Helper()
	var doc struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &doc); err != nil || len(doc.Errors) != 1 || doc.Errors[0].Code != string(code) || doc.Errors[0].Message == "" {
		t.Errorf("document is %s, want %s", body, code)
	}
	wantHeader(t, answer, http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(len(body))}, "Cache-Control": {cacheNothing},
		"Docker-Distribution-Api-Version": {"registry/2.0"}, "X-Content-Type-Options": {"nosniff"},
		"Docker-Content-Digest": nil, "Etag": nil, "Accept-Ranges": nil, "Location": nil,
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{}
	h := New(options(m))
	for _, target := range []string{"/v2", "/v2/", "/v2/proxy-ghcr.io", "/v2/proxy-ghcr.io/v2/", "/v2/ghcr.io/", "/proxy-ghcr.io/v2/"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			w := record(h, method, target)
			if body := w.Body.String(); w.Code != 200 || body != map[string]string{http.MethodGet: "{}"}[method] {
				t.Errorf("%s %s: %d %q", method, target, w.Code, body)
			}
			wantHeader(t, w.Result(), http.Header{
				"Docker-Distribution-Api-Version": {"registry/2.0"}, "Content-Type": {"application/json"}, "Content-Length": {"2"},
			})
		}
	}
	if n := m.count(); n != 0 {
		t.Errorf("the mirror was asked %d times", n)
	}
}

func TestRequestReachesTheMirror(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{manifest: testManifest([]byte("{}"))}
	o := options(m)
	o.Router = NewRouter(testUpstreams(), "docker.io")
	o.User = func(r *http.Request) string { return r.Header.Get("X-User") }
	r := httptest.NewRequest(http.MethodGet, "/v2/nginx/manifests/latest?ns=index.docker.io", nil)
	r.Header.Set("X-User", "talos")
	w := httptest.NewRecorder()
	New(o).ServeHTTP(w, r)
	want := oci.Request{
		Kind: oci.KindManifest, Upstream: "docker.io", Repository: "library/nginx", Name: "nginx",
		Reference: oci.Reference{Tag: "latest"}, User: "talos",
	}
	if len(m.requests) != 1 || m.requests[0] != want {
		t.Errorf("the mirror got %+v, want %+v", m.requests, want)
	}
	wantHeader(t, w.Result(), http.Header{"Oci-Namespace": {"index.docker.io"}, "Cache-Control": {cacheChecked}})
	wantHeader(t, record(New(o), http.MethodGet, testPrefix+"/manifests/1?ns=docker.io").Result(), http.Header{"Oci-Namespace": nil})
}

func TestCacheHeaders(t *testing.T) {
	t.Parallel()
	fresh, stale := time.Minute, -time.Hour
	for _, test := range []struct {
		status oci.CacheStatus
		err    error
		want   http.Header
	}{
		{oci.CacheStatus{}, nil, http.Header{"Cache-Status": nil, "Age": nil, "Warning": nil}},
		{
			oci.CacheStatus{Result: oci.ResultHit, Fresh: &fresh, Age: 90500 * time.Millisecond},
			nil,
			http.Header{"Cache-Status": {"pullgate; hit; ttl=60"}, "Age": {"90"}, "Warning": nil},
		},
		{oci.CacheStatus{Result: oci.ResultHit, Fresh: &fresh, Age: -time.Hour}, nil, http.Header{"Age": {"0"}}},
		{oci.CacheStatus{Result: oci.ResultMiss, Stored: true}, nil, http.Header{"Cache-Status": {"pullgate; fwd=miss; stored"}}},
		{oci.CacheStatus{Result: oci.ResultStale, Fresh: &stale, Age: time.Hour, Detail: `time"out\`}, nil, http.Header{
			"Cache-Status": {"pullgate; hit; ttl=-3600; detail=stale"}, "Age": {"3600"},
			"Warning": {`299 - "stale: ghcr.io gives no fresh answer (time\"out\\), last confirmed 1h0m0s ago"`},
		}},
		{
			oci.CacheStatus{Result: oci.ResultMiss, ForwardStatus: 404},
			oci.NewError(oci.CodeManifestUnknown, "no"),
			http.Header{"Cache-Status": {"pullgate; fwd=miss; fwd-status=404"}},
		},
	} {
		m := &fakeMirror{manifest: testManifest([]byte("{}")), status: test.status, err: test.err}
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			wantHeader(t, record(New(options(m)), method, testPrefix+"/manifests/latest").Result(), test.want)
		}
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		err    error
		status int
		code   oci.Code
		header http.Header
		logged bool
	}{
		{"known", oci.NewError(oci.CodeManifestUnknown, "no such tag"), 404, oci.CodeManifestUnknown, nil, false},
		{"wrapped", fmt.Errorf("get: %w", oci.NewError(oci.CodeDenied, "no")), 403, oci.CodeDenied, http.Header{"Www-Authenticate": nil}, false},
		{"unknown", errors.New("secret"), 502, oci.CodeUnavailable, nil, true},
		{"timeout", oci.UpstreamError(oci.ClassTimeout, oci.CodeManifestUnknown, "too slow", errors.New("secret")), 504, oci.CodeUnavailable, nil, true},
		{"unauthorized", oci.NewError(oci.CodeUnauthorized, "log in"), 401, oci.CodeUnauthorized, http.Header{"Www-Authenticate": {`Basic realm="pullgate"`}}, false},
		{"rate limit", &oci.Error{Code: oci.CodeTooManyRequests, Status: 429, Message: "m", RetryAfter: 1200 * time.Millisecond}, 429, oci.CodeTooManyRequests, http.Header{"Retry-After": {"2"}}, false},
		{"rate limit, short", &oci.Error{Code: oci.CodeTooManyRequests, Status: 429, Message: "m", RetryAfter: 1}, 429, oci.CodeTooManyRequests, http.Header{"Retry-After": {"1"}}, false},
		{"rate limit, unknown", &oci.Error{Code: oci.CodeTooManyRequests, Status: 429, Message: "m"}, 429, oci.CodeTooManyRequests, http.Header{"Retry-After": nil}, false},
		{"busy", &oci.Error{Code: oci.CodeUnavailable, Status: 503, Message: "m", RetryAfter: time.Minute}, 503, oci.CodeUnavailable, http.Header{"Retry-After": {"60"}}, true},
		{"not for waiting", &oci.Error{Code: oci.CodeUnavailable, Status: 502, Message: "m", RetryAfter: time.Minute}, 502, oci.CodeUnavailable, http.Header{"Retry-After": nil}, true},
		{"5xx with a code of 4xx", &oci.Error{Code: oci.CodeBlobUnknown, Status: 500, Message: "m"}, 500, oci.CodeUnavailable, nil, true},
		{"redirect", &oci.Error{Code: oci.CodeBlobUnknown, Status: 307, Message: "m"}, 502, oci.CodeUnavailable, nil, true},
		{"not modified", &oci.Error{Code: oci.CodeBlobUnknown, Status: 304, Message: "m"}, 502, oci.CodeUnavailable, nil, true},
		{"no status", &oci.Error{Code: oci.CodeBlobUnknown, Message: "m"}, 502, oci.CodeUnavailable, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logs bytes.Buffer
			o := options(&fakeMirror{err: test.err})
			o.Logger = slog.New(slog.NewTextHandler(&logs, nil))
			for _, path := range []string{"/manifests/1", "/blobs/" + testDigest.String(), "/tags/list", "/referrers/" + testDigest.String()} {
				w := record(New(o), http.MethodGet, testPrefix+path)
				if w.Code != test.status {
					t.Errorf("%s: got %d, want %d", path, w.Code, test.status)
				}
				checkDocument(t, w.Result(), w.Body.Bytes(), test.code)
				wantHeader(t, w.Result(), test.header)
				if strings.Contains(w.Body.String(), "secret") {
					t.Errorf("%s: the cause reaches the client: %s", path, w.Body)
				}
				head := record(New(o), http.MethodHead, testPrefix+path)
				if head.Code != w.Code || head.Body.Len() != 0 || head.Header().Get("Content-Length") != w.Header().Get("Content-Length") {
					t.Errorf("%s: HEAD is %d with %v", path, head.Code, head.Header())
				}
			}
			if strings.Contains(logs.String(), "level=ERROR") != test.logged {
				t.Errorf("logged %q", logs.String())
			}
		})
	}
}

func TestErrorDetailIsTheClass(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{err: oci.UpstreamError(oci.ClassTLS, oci.CodeBlobUnknown, "bad certificate", nil)}
	w := record(New(options(m)), http.MethodGet, testPrefix+"/manifests/1")
	if want := `{"errors":[{"code":"UNAVAILABLE","message":"bad certificate","detail":"tls"}]}`; w.Body.String() != want {
		t.Errorf("document is %s, want %s", w.Body, want)
	}
}

func TestWritesAreRefused(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{}
	var answers []Answer
	o := options(m)
	o.OnDone = func(_ *http.Request, a *Answer) { answers = append(answers, *a) }
	h := New(o)
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE", "OPTIONS", "get", "PROPFIND"} {
		for _, path := range []string{"/v2/", testPrefix + "/manifests/1", testPrefix + "/blobs/uploads/", testPrefix + "/blobs/uploads/?mount=x&from=y"} {
			body := &untouchable{t: t}
			r := httptest.NewRequest(http.MethodGet, path, body)
			r.Method, r.ContentLength = method, 10
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: got %d", method, path, w.Code)
			}
			checkDocument(t, w.Result(), w.Body.Bytes(), oci.CodeUnsupported)
			wantHeader(t, w.Result(), http.Header{"Allow": {"GET, HEAD"}, "Connection": {"close"}})
		}
	}
	if m.count() != 0 || len(answers) != 28 || answers[0].Status != 405 {
		t.Errorf("the mirror was asked %d times, answers %d", m.count(), len(answers))
	}
}

type untouchable struct{ t *testing.T }

func (u *untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// What follows an unread body on the connection is never answered: it may be
// the rest of that body.
func TestConnectionEndsAfterAnUnreadBody(t *testing.T) {
	t.Parallel()
	server, _ := serve(t, New(options(&fakeMirror{manifest: testManifest([]byte("{}"))})), false)
	const next = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
	for request, want := range map[string]int{
		"PUT /v2/proxy-ghcr.io/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n":                        405,
		"POST /v2/proxy-ghcr.io/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n": 405,
		"PATCH /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello":                                                     405,
		// A chunk of which no more comes.
		"GET /v2/proxy-ghcr.io/a/manifests/2 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\nx": 200,
		"GET /v2/proxy-ghcr.io/a/manifests/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello":               200,
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		_, _ = io.WriteString(conn, request+next)
		reader := bufio.NewReader(conn)
		answer, err := http.ReadResponse(reader, nil)
		if err != nil || answer.StatusCode != want || !answer.Close {
			t.Fatalf("%.20s: got %v, %v", request, answer, err)
		}
		_, _ = io.CopyN(io.Discard, answer.Body, answer.ContentLength)
		if more, err := reader.ReadByte(); more != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.20s: there is a second answer, or no end: %v", request, err)
		}
		_ = conn.Close()
	}
}

func TestHooksRunOnce(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		method, target string
		mirror         *fakeMirror
		want           Answer
	}{
		"ping":     {"GET", "/v2/", &fakeMirror{}, Answer{Status: 200, Bytes: 2, Request: oci.Request{Kind: oci.KindPing}}},
		"manifest": {"GET", testPrefix + "/manifests/1", &fakeMirror{manifest: testManifest([]byte("{}")), status: oci.CacheStatus{Result: oci.ResultHit}}, Answer{Status: 200, Bytes: 2}},
		"head":     {"HEAD", testPrefix + "/manifests/1", &fakeMirror{manifest: testManifest([]byte("{}"))}, Answer{Status: 200}},
		"blob":     {"GET", testPrefix + "/blobs/" + testDigest.String(), &fakeMirror{blob: fillBlob(testBytes(5), 2, 0, nil)}, Answer{Status: 200, Bytes: 5}},
		"error":    {"HEAD", testPrefix + "/manifests/1", &fakeMirror{err: oci.NewError(oci.CodeDenied, "no")}, Answer{Status: 403}},
		"bad path": {"HEAD", testPrefix + "/x", &fakeMirror{}, Answer{Status: 404}},
		"late":     {"GET", testPrefix + "/blobs/" + testDigest.String(), &fakeMirror{blob: fillBlob(testBytes(5), 2, 4, io.EOF)}, Answer{Status: 200, Bytes: 4, Aborted: true}},
	}
	for name, test := range cases {
		var headers, dones []Answer
		o := options(test.mirror)
		o.OnHeader = func(_ *http.Request, a *Answer) { headers = append(headers, *a) }
		o.OnDone = func(_ *http.Request, a *Answer) { dones = append(dones, *a) }
		aborted := aborts(New(o), httptest.NewRecorder(), httptest.NewRequest(test.method, test.target, nil))
		if len(headers) != 1 || len(dones) != 1 {
			t.Errorf("%s: OnHeader ran %d times, OnDone %d", name, len(headers), len(dones))
			continue
		}
		h, d := headers[0], dones[0]
		if h.Status != test.want.Status || h.Bytes != 0 || h.Aborted || h.Cache != test.mirror.status || h.Request != d.Request {
			t.Errorf("%s: header answer is %+v", name, h)
		}
		if d.Status != test.want.Status || d.Bytes != test.want.Bytes || d.Aborted != test.want.Aborted || aborted != test.want.Aborted {
			t.Errorf("%s: answer is %+v, want %+v", name, d, test.want)
		}
		if failed := test.want.Status >= 400 || test.want.Aborted; (d.Err != nil) != failed {
			t.Errorf("%s: error is %v", name, d.Err)
		}
	}
}

func TestHostileHeadersAreIgnored(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{manifest: testManifest([]byte("{}"))}
	server, client := serve(t, New(options(m)), false)
	answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+"/manifests/1", http.Header{
		"X-Http-Method-Override": {"DELETE"}, "Accept": {"text/html;q=x"}, "Accept-Encoding": {"gzip, zstd, br"}, "Origin": {"http://x"},
		"X-Forwarded-Host": {"evil"}, "If-None-Match": {`*`}, "If-Modified-Since": {"Sat, 21 Nov 2026 12:00:00 GMT"}, "Cookie": {"a=b"},
	})
	if err != nil || answer.StatusCode != http.StatusOK || string(body) != "{}" {
		t.Fatalf("got %v, %v", answer, err)
	}
	allowed := "Cache-Control Content-Length Content-Type Date Docker-Content-Digest Etag X-Content-Type-Options"
	for name := range answer.Header {
		if !strings.Contains(allowed, name) {
			t.Errorf("header %s: %q", name, answer.Header[name])
		}
	}
}
