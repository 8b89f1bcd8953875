package mirror_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/testenv"
)

// The grammar of the specs, written down once more. Names of the distribution
// spec ("Pulling manifests"), digests of the image spec ("Digests").
var (
	nameGrammar   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestGrammar = regexp.MustCompile(`^(sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$`)
)

// pedant is an upstream that insists on the grammar. It has one image.
type pedant struct {
	t        *testing.T
	manifest []byte
	blob     []byte
	asked    int
}

func (p *pedant) check(repository, tag string, d digest.Digest) {
	p.asked++
	if !nameGrammar.MatchString(repository) || len(repository) > 255 ||
		tag != "" && !tagGrammar.MatchString(tag) || d != "" && !digestGrammar.MatchString(d.String()) {
		p.t.Errorf("the upstream is asked for %q, %q, %q", repository, tag, d)
	}
}

func missing(code oci.Code) error {
	return oci.UpstreamError(oci.ClassNotFound, code, "there is none", nil)
}

func (p *pedant) get(repository string, ref oci.Reference) (oci.Manifest, error) {
	p.check(repository, ref.Tag, ref.Digest)
	m := oci.Manifest{MediaType: "application/vnd.oci.image.index.v1+json", Digest: oci.Sum(p.manifest), Bytes: p.manifest}
	if repository != "library/alpine" || ref.Tag != "3" && ref.Digest != m.Digest {
		return oci.Manifest{}, missing(oci.CodeManifestUnknown)
	}
	return m, nil
}

func (p *pedant) Resolve(_ context.Context, repository string, ref oci.Reference, _ func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	m, err := p.get(repository, ref)
	return m.Descriptor(), nil, err
}

func (p *pedant) Manifest(_ context.Context, repository string, ref oci.Reference) (oci.Manifest, error) {
	return p.get(repository, ref)
}

func (p *pedant) HeadBlob(_ context.Context, repository string, d digest.Digest) (int64, error) {
	p.check(repository, "", d)
	if repository != "library/alpine" || d != oci.Sum(p.blob) {
		return -1, missing(oci.CodeBlobUnknown)
	}
	return int64(len(p.blob)), nil
}

func (p *pedant) Blob(ctx context.Context, repository string, d digest.Digest, offset, _ int64) (oci.BlobBody, error) {
	if _, err := p.HeadBlob(ctx, repository, d); err != nil {
		return oci.BlobBody{}, err
	}
	return oci.BlobBody{ReadCloser: io.NopCloser(bytes.NewReader(p.blob[offset:])), Offset: offset, Size: int64(len(p.blob))}, nil
}

func (p *pedant) Tags(_ context.Context, repository string, at oci.TagsCursor) (oci.TagsPart, error) {
	p.check(repository, "", "")
	if at != (oci.TagsCursor{}) {
		p.t.Errorf("page %v", at) // only the upstream itself tells of more
	}
	return oci.TagsPart{Tags: []string{"3"}}, nil
}

func (p *pedant) Referrers(_ context.Context, repository string, d digest.Digest) ([]oci.Descriptor, error) {
	p.check(repository, "", d)
	return nil, nil
}

// wild makes requests of which every part may be wrong.
type wild struct {
	*rand.Rand

	digests []string
}

func (g wild) one(of ...string) string { return of[g.IntN(len(of))] }

func (g wild) junk() string {
	switch g.IntN(7) {
	case 0:
		return strings.Repeat(g.one("a", "a/", "/", ".", "../", "%2e", "-", "__", "%"), g.IntN(300))
	case 1:
		return g.one("..", "%2e%2e", "..%2f", "%252e", "%00", "%0d%0a", "\\", "%5c", "é", "%c3%a9", "%ff", "／", ";", ":", "@", "?", "#", "%3F", "+", "~", "*")
	case 2:
		return g.one("sha256:", "sha512:", "md5:", "sha256%3A", "sha256+b64:", ":", "sha256:sha256:") + strings.Repeat(g.one("a", "A", "g", "0"), g.IntN(140))
	case 3:
		return strings.Repeat("x", []int{1, 127, 128, 129, 255, 256, 4000}[g.IntN(7)])
	case 4:
		return strconv.FormatInt(g.Int64(), 10)
	}
	raw := make([]byte, 1+g.IntN(12))
	for i := range raw {
		raw[i] = byte('!' + g.IntN(94))
	}
	return string(raw)
}

func (g wild) or(s string) string {
	switch g.IntN(30) {
	case 0:
		return g.junk()
	case 1:
		return s + g.junk()
	case 2:
		return g.junk() + s
	case 3:
		i := g.IntN(len(s) + 1)
		return s[:i] + g.junk() + s[i:]
	case 4:
		return strings.ToUpper(s)
	case 5:
		if s != "" {
			i := g.IntN(len(s))
			return s[:i] + fmt.Sprintf("%%%02x", s[i]) + s[i+1:]
		}
	}
	return s
}

func (g wild) digest() string { return g.or(g.digests[g.IntN(len(g.digests))]) }

func (g wild) target() string {
	root := g.or(g.one("/v2/proxy-docker.io", "/v2/docker.io", "/v2/proxy-docker.io/v2", "/proxy-docker.io/v2", "/v2", "/v2/proxy-ghcr.io",
		"/v2/proxy-unknown.example", "", "/v1", "/v2//proxy-docker.io"))
	name := g.or(g.one("library/alpine", "alpine", "a/b/c", "team-a/x_y.z", "proxy-ghcr.io/x", "docker.io", "manifests", "blobs/x", "v2"))
	rest := g.one("/manifests/"+g.or("3"), "/manifests/"+g.digest(), "/blobs/"+g.digest(), "/tags/list", "/referrers/"+g.digest(),
		"/blobs/uploads/", "/manifests/", "/blobs", "/_catalog", "", "/", "/tags/list/", g.junk())
	query := g.one("", "", "", "", "?ns="+g.or("docker.io"), "?n="+g.or(g.one("0", "1", "1000", "-1", "1e9", "99999999999999999999")),
		"?last="+g.or("3")+"&n=2", "?artifactType="+g.or("a/b"), "?next_page="+g.junk(), "?digest=x&mount=y&from=z", "?"+g.junk(), "?ns=&ns=ghcr.io")
	return root + "/" + name + rest + query
}

// request is a request as it came over the wire; nil if no server would take it.
func (g wild) request() *http.Request {
	var b bytes.Buffer
	method := "GET"
	if g.IntN(3) == 0 {
		method = g.one("HEAD", "HEAD", "HEAD", "HEAD", "HEAD", "HEAD", "HEAD", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "PROPFIND", g.junk())
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.%s\r\nHost: %s\r\n", method, g.target(), g.one("1", "1", "0"), g.one("x", "169.254.169.254", "docker.io", "x:99999"))
	for range g.IntN(4) {
		name := g.one("Range", "If-Range", "If-None-Match", "Accept", "Accept-Encoding", "Authorization", "Cookie", "X-HTTP-Method-Override",
			"X-Forwarded-Host", "X-Forwarded-For", "Origin", "Referer", "User-Agent", "Content-Type", "Upgrade", "Expect")
		value := g.or(g.one("bytes=0-", "bytes=1-2", "bytes=-5", "bytes=9-3", "bytes=0-1,3-4", "bytes=99999999999999999999-", "lines=1-2", "*/*",
			"application/vnd.oci.image.index.v1+json", "gzip, zstd", "Basic Y2FuYXJ5OmNhbmFyeQ==", "DELETE", "100-continue", `"`+g.digests[0]+`"`, "evil.test"))
		fmt.Fprintf(&b, "%s: %s\r\n", name, strings.NewReplacer("\r", "", "\n", "").Replace(value))
	}
	switch g.IntN(12) {
	case 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", g.IntN(1<<30))
	case 1:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	}
	b.WriteString("\r\n")
	r, err := http.ReadRequest(bufio.NewReader(&b))
	if err != nil {
		return nil
	}
	r.RemoteAddr = "192.0.2.1:1234"
	return r
}

// unread is a body that nobody may read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body of a request is read")
	return 0, io.EOF
}

func (unread) Close() error { return nil }

// TestGeneratedRequests sends a gateway requests of which every part may be wrong:
// none is answered with a 5xx, none makes it panic, and what is no name reaches
// no upstream.
func TestGeneratedRequests(t *testing.T) {
	n, seed := testenv.Rounds(10_000, 100_000), testenv.Seed(t)
	f := newFixture(t)
	p := &pedant{t: t, blob: []byte("a blob"), manifest: []byte(
		`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)}
	m, err := mirror.New(f.cache, mirror.Options{Upstreams: []mirror.Upstream{
		{Name: "docker.io", Remote: p, Freshness: mirror.Freshness{TagTTL: ttl}, Access: mirror.Access{Public: true}},
		{Name: "ghcr.io", Remote: p, Freshness: mirror.Freshness{TagTTL: ttl}, Deny: []string{"**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	handler := registry.New(registry.Options{Mirror: m, Router: registry.NewRouter(map[string]registry.Upstream{
		"docker.io": {Name: "docker.io"}, "ghcr.io": {Name: "ghcr.io"},
	}, "docker.io")})
	g := wild{rand.New(rand.NewPCG(seed, 0)), []string{
		oci.Sum(p.blob).String(), oci.Sum(p.manifest).String(), "sha512:" + strings.Repeat("0f", 64), oci.Sum(nil).String(),
	}}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	statuses, refused := map[int]int{}, 0
	for i := range n {
		r := g.request()
		if r == nil {
			refused++
			continue
		}
		if r.ContentLength != 0 {
			r.Body = unread{t}
		}
		w := httptest.NewRecorder()
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("request %d, %s %q: panic: %v", i, r.Method, r.RequestURI, p)
				}
			}()
			handler.ServeHTTP(w, r)
		}()
		statuses[w.Code]++
		if err := proper(r, w); err != nil {
			t.Errorf("request %d, %s %.200q: %d, %v", i, r.Method, r.RequestURI, w.Code, err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d requests: %d no server takes, statuses %v, %d asked of the upstream, %d MiB more", n, refused, statuses, p.asked, grown)
	if statuses[200] < n/50 || statuses[404] < n/50 || statuses[400] < n/50 || grown > 64 {
		t.Error("the test proves too little, or memory is not bounded")
	}
}

// proper checks the form of an answer.
func proper(r *http.Request, w *httptest.ResponseRecorder) error {
	write := r.Method != http.MethodGet && r.Method != http.MethodHead
	switch {
	case w.Code >= 500, w.Code >= 300 && w.Code < 400:
		return errors.New("not a status for a request")
	case write != (w.Code == http.StatusMethodNotAllowed):
		return errors.New("405 is for methods that are not supported")
	case w.Header().Get("Location") != "", w.Header().Get("Set-Cookie") != "", w.Header().Get("Access-Control-Allow-Origin") != "":
		return errors.New("a header that leads elsewhere")
	}
	for name, values := range w.Header() {
		if strings.ContainsAny(strings.Join(values, ""), "\r\n\x00") || len(values[0]) > 12<<10 {
			return fmt.Errorf("header %s: %.100q", name, values)
		}
	}
	var document struct {
		Errors []struct{ Code, Message string }
	}
	if w.Code >= 400 && r.Method != http.MethodHead {
		if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || len(document.Errors) != 1 || len(document.Errors[0].Message) > 1000 {
			return fmt.Errorf("no error document: %.200q", w.Body)
		}
	}
	return nil
}
