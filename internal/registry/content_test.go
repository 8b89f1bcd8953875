package registry

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// Every kind of content answers every range alike, whatever its state.
func TestRangesOfContent(t *testing.T) {
	t.Parallel()
	b := testBytes(600_000) // more than two buffers
	m := &fakeMirror{manifest: testManifest(b)}
	file, following := fileBlob(t, b), fillBlob(b, 70_001, 0, nil)
	byDigest := oci.Sum(b).String()
	contents := []struct {
		name, path, mediaType string
		blob                  func(context.Context) oci.Blob
	}{
		{"file", "/blobs/" + byDigest, oci.MediaTypeOctetStream, file},
		{"following reader", "/blobs/" + byDigest, oci.MediaTypeOctetStream, following},
		{"manifest", "/manifests/" + byDigest, m.manifest.MediaType, nil},
	}
	ranges := []struct {
		header, ifRange string
		status          int
		from, to        int
	}{
		{"", "", 200, 0, len(b)},
		{"bytes=0-", "", 206, 0, len(b)},
		{"bytes=100-199", "", 206, 100, 200},
		{"bytes=300000-", "", 206, 300_000, len(b)},
		{"bytes=-70000", "", 206, len(b) - 70_000, len(b)},
		{"bytes=599999-600000", "", 206, 599_999, 600_000},
		{"bytes=1-599998", "", 206, 1, 599_999},
		{"bytes=600000-", "", 416, 0, 0},
		{"bytes=5-1", "", 416, 0, 0},
		{"bytes=-0", "", 416, 0, 0},
		{"bytes=99999999999999999999-", "", 416, 0, 0},
		{"bytes=0-1,9,5-6", "", 200, 0, len(b)},
		{"bytes=100-150,140-199", "", 206, 100, 200},
		{"lines=1-2", "", 200, 0, len(b)},
		{"bytes=100-199", `"` + byDigest + `"`, 206, 100, 200},
		{"bytes=100-199", `"sha256:other"`, 200, 0, len(b)},
	}
	for _, h2 := range []bool{false, true} {
		server, client := serve(t, New(options(m)), h2)
		for _, content := range contents {
			for _, test := range ranges {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					t.Run(fmt.Sprintf("h2=%t/%s/%s/%s/%s", h2, content.name, method, test.header, test.ifRange), func(t *testing.T) {
						m.blob = content.blob
						header := http.Header{"If-None-Match": {`"` + byDigest + `"`}, "Accept-Encoding": {"gzip, zstd"}}
						if test.header != "" {
							header.Set("Range", test.header)
						}
						if test.ifRange != "" {
							header.Set("If-Range", test.ifRange)
						}
						answer, body, err := ask(t, client, method, server.URL+testPrefix+content.path, header)
						if err != nil {
							t.Fatal(err)
						}
						if answer.ProtoMajor == 2 != h2 {
							t.Fatalf("protocol is %s", answer.Proto)
						}
						status, from, to := test.status, test.from, test.to
						if method == http.MethodHead {
							status, from, to = 200, 0, len(b)
						}
						contentRange := ""
						switch status {
						case 206:
							contentRange = fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(b))
						case 416:
							contentRange = fmt.Sprintf("bytes */%d", len(b))
						}
						if answer.StatusCode != status || answer.Header.Get("Content-Range") != contentRange {
							t.Fatalf("got %d with %q, want %d with %q", answer.StatusCode, answer.Header.Get("Content-Range"), status, contentRange)
						}
						if status == 416 {
							checkDocument(t, answer, body, oci.CodeUnsupported)
							return
						}
						accept := []string{"bytes"}
						if content.blob == nil {
							accept = nil
						}
						wantHeader(t, answer, http.Header{
							"Content-Type": {content.mediaType}, "Content-Length": {strconv.Itoa(to - from)},
							"Docker-Content-Digest": {byDigest}, "Etag": {`"` + byDigest + `"`}, "Accept-Ranges": accept,
							"Cache-Control": {cacheForever}, "Content-Encoding": nil, "Last-Modified": nil,
							"X-Content-Type-Options": {"nosniff"}, "Docker-Distribution-Api-Version": nil,
						})
						want := b[from:to]
						if method == http.MethodHead {
							want = nil
						}
						if !bytes.Equal(body, want) {
							t.Errorf("got %d bytes that are not those of [%d, %d)", len(body), from, to)
						}
					})
				}
			}
		}
	}
}

func TestEmptyContent(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{manifest: testManifest(nil)}
	server, client := serve(t, New(options(m)), false)
	for name, blob := range map[string]func(context.Context) oci.Blob{
		"file": fileBlob(t, nil), "following reader": fillBlob(nil, 1, 0, nil),
	} {
		for _, requested := range []string{"", "bytes=0-", "bytes=5-", "bytes=-1"} {
			m.blob = blob
			header := http.Header{}
			if requested != "" {
				header.Set("Range", requested)
			}
			answer, body, err := ask(t, client, http.MethodGet, server.URL+testPrefix+"/blobs/"+oci.Sum(nil).String(), header)
			if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Length") != "0" || len(body) != 0 {
				t.Errorf("%s, %q: got %v, %v", name, requested, answer, err)
			}
		}
	}
}

// A file that is not as long as its blob must not reach the kernel: it sends
// what is there, past Content-Length.
func TestFileOfAnotherLength(t *testing.T) {
	t.Parallel()
	b := testBytes(1000)
	for name, size := range map[string]int64{"longer": 999, "shorter": 1001} {
		var closed *os.File
		open := fileBlob(t, b)
		m := &fakeMirror{blob: func(ctx context.Context) oci.Blob {
			blob := open(ctx)
			blob.Size, closed = size, blob.Content.(*os.File)
			return blob
		}}
		r := httptest.NewRequest(http.MethodGet, testPrefix+"/blobs/"+testDigest.String(), nil)
		r.Header.Set("Range", "bytes=10-")
		w := httptest.NewRecorder()
		New(options(m)).ServeHTTP(w, r)
		if w.Code != http.StatusBadGateway || w.Header().Get("Content-Range") != "" {
			t.Errorf("%s: got %d with %v", name, w.Code, w.Header())
		}
		checkDocument(t, w.Result(), w.Body.Bytes(), oci.CodeUnavailable)
		if err := closed.Close(); err == nil {
			t.Errorf("%s: the file was left open", name)
		}
	}
}

func TestUnknownSizeIsNotInvented(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{blob: func(ctx context.Context) oci.Blob {
		blob := fillBlob(nil, 1, 0, nil)(ctx)
		blob.Size = -1
		return blob
	}}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		if w := record(New(options(m)), method, testPrefix+"/blobs/"+testDigest.String()); w.Code != http.StatusBadGateway {
			t.Errorf("%s: got %d", method, w.Code)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	content := testBytes(64 << 10)
	m := &fakeMirror{manifest: testManifest(content[:2000]), blob: fileBlob(b, content), status: oci.CacheStatus{Result: oci.ResultHit}}
	server, client := serve(b, New(options(m)), false)
	for name, path := range map[string]string{
		"manifest": "/manifests/" + oci.Sum(content[:2000]).String(),
		"blob":     "/blobs/" + oci.Sum(content).String(),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if answer, _, err := ask(b, client, http.MethodGet, server.URL+testPrefix+path, nil); err != nil || answer.StatusCode != http.StatusOK {
					b.Fatal(answer, err)
				}
			}
		})
	}
}

// set takes names as they are: one that is not canonical would be a second header
// beside the canonical one.
func TestHeaderNamesAreCanonical(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`x\.set\("([^"]*)"`)
	found := 0
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range set.FindAllSubmatch(source, -1) {
			found++
			if name := string(match[1]); name != http.CanonicalHeaderKey(name) {
				t.Errorf("%s sets %s, want %s", file, name, http.CanonicalHeaderKey(name))
			}
		}
	}
	if found < 10 {
		t.Errorf("found only %d headers", found)
	}
}

// The mirror knows who wants a blob as a whole.
func TestRangedRequests(t *testing.T) {
	t.Parallel()
	b := testBytes(1000)
	m := &fakeMirror{blob: fileBlob(t, b)}
	server, client := serve(t, New(options(m)), false)
	for header, want := range map[string]bool{"": false, "bytes=0-": false, "bytes=0-0": true, "bytes=500-": true, "bytes=-1": true, "bytes=1-2,4-5": true} {
		m.requests = nil
		if _, _, err := ask(t, client, http.MethodGet, server.URL+"/v2/proxy-docker.io/library/alpine/blobs/"+oci.Sum(b).String(), http.Header{"Range": {header}}); err != nil {
			t.Fatal(err)
		}
		if len(m.requests) != 1 || m.requests[0].Ranged != want {
			t.Errorf("%q: %+v, want %t", header, m.requests, want)
		}
	}
}
