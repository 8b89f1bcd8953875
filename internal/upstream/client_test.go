package upstream

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

const repo = "library/alpine"

func mustURL(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// newClient returns a client of the given URL that is closed after the test.
func newClient(t testing.TB, at string, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{Name: "test.example", URLs: []*url.URL{mustURL(t, at)}}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// inBubble runs a test in which nothing that is waited for takes time, in a network of
// its own.
func inBubble(t *testing.T, test func(t *testing.T, n *registrytest.Network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, new(registrytest.Network)) })
}

// newClientIn is newClient of a client in a network.
func newClientIn(t testing.TB, n *registrytest.Network, at string, change ...func(*Options)) *Client {
	t.Helper()
	return newClient(t, at, append(change, func(o *Options) { o.DialContext = n.Dial })...)
}

func newServer(t testing.TB, o registrytest.Options) (*registrytest.Server, registrytest.Image) {
	t.Helper()
	s := registrytest.New(t, o)
	return s, s.PutImage(repo, "3", 1, 70_000, 1_000, 10)
}

// clock is an injected clock.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func tag(s string) oci.Reference { return oci.Reference{Tag: s} }

func wantClass(t testing.TB, err error, class oci.Class) *oci.Error {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want class %q", class)
	}
	e := oci.AsError(err)
	if e.Class != class {
		t.Fatalf("class %q, want %q: %v", e.Class, class, err)
	}
	return e
}

func readBlob(t testing.TB, c *Client, d registrytest.PlatformImage, layer int, offset, length int64) []byte {
	t.Helper()
	b, err := c.Blob(t.Context(), repo, d.Layers[layer].Digest, offset, length)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	raw, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// pull does what a mirror does for a cold image.
func pull(t testing.TB, c *Client, image registrytest.Image) {
	t.Helper()
	head, err := headManifest(t.Context(), c, repo, tag(image.Tag))
	if err != nil {
		t.Fatal(err)
	}
	if head.Digest != image.Index.Digest || head.Size != image.Index.Size || head.MediaType != image.Index.MediaType {
		t.Fatalf("head = %+v, want %+v", head, image.Index)
	}
	index, err := c.Manifest(t.Context(), repo, oci.Reference{Digest: head.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if string(index.Bytes) != string(image.IndexBytes) || index.Descriptor().Digest != head.Digest {
		t.Fatal("index differs")
	}
	platform := image.Platforms[0]
	m, err := c.Manifest(t.Context(), repo, oci.Reference{Digest: platform.Manifest.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Bytes) != string(platform.ManifestBytes) {
		t.Fatal("manifest differs")
	}
	contents, err := oci.ParseManifest(m.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, blob := range contents.Blobs {
		body, err := c.Blob(t.Context(), repo, blob.Digest, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(body)
		if err != nil || !oci.Verify(blob.Digest, raw) || body.Size != int64(len(raw)) || body.Offset != 0 {
			t.Fatalf("blob %s: %d bytes of %d, %v", blob.Digest, len(raw), body.Size, err)
		}
		if err := body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestColdPullCountsRequests(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]registrytest.Options{
		"open":              {},
		"bearer":            {Auth: registrytest.AuthBearer},
		"bearer with user":  {Auth: registrytest.AuthBearer, Username: "u", Password: "p"},
		"basic":             {Auth: registrytest.AuthBasic, Username: "u", Password: "p"},
		"bearer, CDN":       {Auth: registrytest.AuthBearer, CDN: true},
		"bearer, CDN, TLS":  {Auth: registrytest.AuthBearer, CDN: true, TLS: true},
		"basic, CDN, TLS":   {Auth: registrytest.AuthBasic, Username: "u", Password: "p", CDN: true, TLS: true},
		"bearer, user, TLS": {Auth: registrytest.AuthBearer, Username: "u", Password: "p", TLS: true},
	} {
		t.Run(name, func(t *testing.T) {
			s, image := newServer(t, o)
			c := newClient(t, s.URL(), func(co *Options) {
				if o.Username != "" {
					co.Credentials = BasicCredentials(o.Username, o.Password)
					token := mustURL(t, s.TokenURL())
					co.AuthOrigins = []string{token.Scheme + "://" + token.Host}
				}
				if o.TLS {
					co.RootCAs = s.CertPool()
				}
			})
			pull(t, c, image)
			for _, w := range []struct {
				method, kind string
				n            int
			}{
				{http.MethodHead, "manifests", 1},
				{http.MethodGet, "manifests", 2},
				{http.MethodGet, "blobs", 4},
				{http.MethodHead, "blobs", 0},
			} {
				if n := s.Accepted(w.method, w.kind); n != w.n {
					t.Errorf("%d %s %s, want %d: %v", n, w.method, w.kind, w.n, s.Requests())
				}
			}
			tokens := 0
			if o.Auth == registrytest.AuthBearer {
				tokens = 1
			}
			if n := s.Count("", "token"); n != tokens {
				t.Errorf("%d token requests, want %d", n, tokens)
			}
			dance := 0
			for _, r := range s.Requests() {
				if r.Status == http.StatusUnauthorized || r.Kind == "ping" {
					dance++
				}
				if r.Header.Get("User-Agent") != "pullgate" || r.Header.Get("Traceparent") != "" ||
					r.Header.Get("Accept-Encoding") != "identity" {
					t.Errorf("headers of %v: %v", r, r.Header)
				}
			}
			if dance > 1 {
				t.Errorf("%d requests of the dance, want at most one: %v", dance, s.Requests())
			}
			if n := s.CountHost(registrytest.HostCDN, "", ""); (n == 4) != o.CDN {
				t.Errorf("%d requests to the CDN", n)
			}
		})
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	// The server lives on while the goroutines are counted: it is the client
	// that has to close its connections.
	before := goleak.IgnoreCurrent()
	c, err := New(Options{Name: "x", URLs: []*url.URL{mustURL(t, s.URL())}})
	if err != nil {
		t.Fatal(err)
	}
	layer := image.Platforms[0].Layers[0]
	open := func() oci.BlobBody {
		t.Helper()
		b, err := c.Blob(context.Background(), repo, layer.Digest, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	running, abandoned := open(), open()
	c.Close()
	// A fill that resumes belongs to the old configuration still.
	if _, err := c.Manifest(context.Background(), repo, tag("3")); err != nil {
		t.Fatal(err)
	}
	late := open()
	for _, b := range []oci.BlobBody{running, late} {
		if raw, err := io.ReadAll(b); err != nil || !oci.Verify(layer.Digest, raw) {
			t.Fatalf("body after Close: %d bytes, %v", len(raw), err)
		}
	}
	for _, b := range []oci.BlobBody{running, abandoned, late} {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	goleak.VerifyNone(t, before)
}

func TestURLSpellings(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"": "/v2/library/alpine/manifests/3", "/": "/v2/library/alpine/manifests/3",
		"/v2":              "/v2/library/alpine/manifests/3",
		"/v2/":             "/v2/library/alpine/manifests/3",
		"/v2/hub":          "/v2/hub/library/alpine/manifests/3",
		"/v2/hub/cache/":   "/v2/hub/cache/library/alpine/manifests/3",
		"/artifactory":     "/artifactory/v2/library/alpine/manifests/3",
		"/api/docker/v2/x": "/api/docker/v2/x/library/alpine/manifests/3",
	} {
		var got string
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.URL.Path
			http.NotFound(w, r)
		}))
		c := newClient(t, s.URL+path)
		_, err := c.Manifest(t.Context(), repo, tag("3"))
		wantClass(t, err, oci.ClassNotFound)
		if got != want {
			t.Errorf("URL path %q asks %q, want %q", path, got, want)
		}
		s.Close()
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"no URL":       {},
		"scheme":       {URLs: []*url.URL{mustURL(t, "ftp://a")}},
		"no host":      {URLs: []*url.URL{mustURL(t, "https:///x")}},
		"password":     {URLs: []*url.URL{mustURL(t, "https://u:p@a")}},
		"query":        {URLs: []*url.URL{mustURL(t, "https://a?x=y")}},
		"second URL":   {URLs: []*url.URL{mustURL(t, "https://a"), mustURL(t, "a")}},
		"auth origin":  {URLs: []*url.URL{mustURL(t, "https://a")}, AuthOrigins: []string{"auth.a"}},
		"auth path":    {URLs: []*url.URL{mustURL(t, "https://a")}, AuthOrigins: []string{"https://a/token"}},
		"proxy scheme": {URLs: []*url.URL{mustURL(t, "https://a")}, Network: egress.Network{Proxy: mustURL(t, "socks5://a")}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestRefusesNamesBeforeAsking(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	c := newClient(t, s.URL())
	d := image.Index.Digest
	for _, err := range []error{
		second(c.Manifest(t.Context(), "a/../b", tag("3"))),
		second(c.Manifest(t.Context(), repo, tag("../3"))),
		second(c.Manifest(t.Context(), repo, oci.Reference{})),
		second(c.Manifest(t.Context(), repo, oci.Reference{Tag: "3", Digest: d})),
		second(headManifest(t.Context(), c, repo, oci.Reference{Digest: "md5:abc"})),
		second(c.HeadBlob(t.Context(), repo, "sha256:abc")),
		second(c.HeadBlob(t.Context(), "A", d)),
		second(c.Blob(t.Context(), repo, "sha512:"+d[7:], 0, -1)),
		second(c.Blob(t.Context(), repo, d, -1, -1)),
		second(c.Blob(t.Context(), repo, d, 0, 0)),
		second(c.Referrers(t.Context(), repo, "x")),
		second(c.Tags(t.Context(), "", oci.TagsCursor{})),
	} {
		if err == nil {
			t.Error("no error")
		}
	}
	if n := s.Count("", ""); n != 0 {
		t.Errorf("%d requests for invalid names", n)
	}
}

func second[T any](_ T, err error) error { return err }

// headManifest resolves a reference.
func headManifest(ctx context.Context, c *Client, repository string, ref oci.Reference) (oci.Descriptor, error) {
	d, _, err := c.Resolve(ctx, repository, ref, nil)
	return d, err
}

func TestObserveAndReceived(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	var mu sync.Mutex
	seen, received := map[string]int{}, map[string]int64{}
	c := newClient(t, s.URL(), func(o *Options) {
		o.Observe = func(ob wire.Observation) {
			mu.Lock()
			defer mu.Unlock()
			seen[ob.Op+" "+string(ob.Class)+" "+http.StatusText(ob.Status)]++
			if ob.Duration <= 0 {
				t.Errorf("duration of %+v", ob)
			}
		}
		o.Received = func(op string, n int64) {
			mu.Lock()
			defer mu.Unlock()
			received[op] += n
		}
	})
	raw := readBlob(t, c, image.Platforms[0], 0, 0, -1)
	_, _ = c.Manifest(t.Context(), repo, tag("missing"))
	mu.Lock()
	defer mu.Unlock()
	for key, n := range map[string]int{
		"get_blob  Unauthorized": 1, "token  OK": 1, "get_blob  Temporary Redirect": 1, "get_blob  OK": 1,
		"get_manifest notfound Not Found": 1,
	} {
		if seen[key] != n {
			t.Errorf("observed %q %d times, want %d: %v", key, seen[key], n, seen)
		}
	}
	if n := received[wire.OpGetBlob]; n < int64(len(raw)) || n > int64(len(raw))+2000 {
		t.Errorf("received %d bytes of a blob of %d", n, len(raw))
	}
}
