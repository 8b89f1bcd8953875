//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// upstream is a registry that has the image of these tests.
type upstream interface {
	// caddyfile returns the lines that configure it.
	caddyfile() string
	// count returns how many requests of a method and a kind it got, those left
	// out that it wanted a token for.
	count(method, kind string) int
	// tokens returns how many tokens it gave away.
	tokens() int
	// total returns how many requests it got, of any kind.
	total() int
	reset()
	// stop ends it: nothing listens on its address any more.
	stop()
}

// upstreamKind is a kind of upstream that everything is tried with.
type upstreamKind struct {
	name string
	// tokens is how many tokens one pull needs.
	tokens int
	// private: its gateway must not answer users that it does not know.
	private bool
	start   func(*testing.T) upstream
}

var upstreams = []upstreamKind{
	{"debian", 0, false, startDebianRegistry},
	{"bearer", 1, false, func(t *testing.T) upstream {
		return startBearerRegistry(t, registrytest.Options{})
	}},
	{"private", 1, true, func(t *testing.T) upstream {
		return startBearerRegistry(t, registrytest.Options{Username: "robot", Password: "secret"})
	}},
}

// bearerRegistry wants a token for everything and redirects blobs to another
// address.
type bearerRegistry struct {
	*registrytest.Server
	lines string // of its configuration
}

func startBearerRegistry(t *testing.T, o registrytest.Options) upstream {
	t.Helper()
	o.Auth, o.CDN = registrytest.AuthBearer, true
	server := registrytest.New(t, o)
	i := testImage(t)
	for d, manifest := range i.manifests {
		tag := ""
		if d == i.index.Digest {
			tag = imageTag
		}
		server.PutManifest(imageRepository, tag, manifest.mediaType, manifest.raw)
	}
	for _, blob := range i.blobs {
		server.PutBlob(imageRepository, blob.raw)
	}
	r := bearerRegistry{server, "url " + server.URL()}
	if o.Username != "" {
		password := writeFile(t, o.Password, t.TempDir(), "password")
		r.lines += fmt.Sprintf("\n\t\t\tcredentials %s {file.%s}\n\t\t\tauth_origin %s",
			o.Username, password, strings.TrimSuffix(server.TokenURL(), "/token"))
	}
	return r
}

func (r bearerRegistry) caddyfile() string             { return r.lines }
func (r bearerRegistry) count(method, kind string) int { return r.Accepted(method, kind) }
func (r bearerRegistry) tokens() int                   { return r.Count("", "token") }
func (r bearerRegistry) total() int                    { return len(r.Requests()) }
func (r bearerRegistry) reset()                        { r.Reset() }
func (r bearerRegistry) stop()                         { r.Close() }

// debianRegistry is Debian's docker-registry behind a server that counts.
type debianRegistry struct {
	process *process
	host    string           // where images are pushed to
	front   *httptest.Server // the gateway's way, which counts

	mu       sync.Mutex
	requests []string // method and kind
}

func startDebianRegistry(t *testing.T) upstream {
	t.Helper()
	r := runDebianRegistry(t)
	layout := filepath.Join(t.TempDir(), "layout")
	testImage(t).writeLayout(t, layout)
	run(t, nil, "skopeo", "copy", "--quiet", "--all", "--preserve-digests", "--dest-tls-verify=false",
		"oci:"+layout+":"+imageTag, "docker://"+r.host+"/"+imageRepository+":"+imageTag)
	return r
}

// runDebianRegistry runs a registry that has nothing.
func runDebianRegistry(t *testing.T) *debianRegistry {
	t.Helper()
	dir, port := t.TempDir(), freePort(t)
	config := writeFile(t, fmt.Sprintf(`version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: "127.0.0.1:%s"}
`, filepath.Join(dir, "data"), port), dir, "config.yml")
	r := &debianRegistry{process: start(t, nil, "docker-registry", "serve", config), host: "127.0.0.1:" + port}
	base := &url.URL{Scheme: "http", Host: r.host}
	r.process.await(t, answers(http.DefaultClient, base.String()+"/v2/"))

	forward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(base)
		p.Out.Host = p.In.Host
	}}
	r.front = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.record(request)
		forward.ServeHTTP(w, request)
	}))
	t.Cleanup(r.front.Close)
	return r
}

func (r *debianRegistry) record(request *http.Request) {
	kind := ""
	for _, k := range []string{"manifests", "blobs", "referrers"} {
		if strings.Contains(request.URL.Path, "/"+k+"/") {
			kind = k
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request.Method+" "+kind)
}

func (r *debianRegistry) caddyfile() string { return "url " + r.front.URL }
func (r *debianRegistry) tokens() int       { return 0 }

func (r *debianRegistry) count(method, kind string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range r.requests {
		m, k, _ := strings.Cut(request, " ")
		if m == method && k == kind {
			n++
		}
	}
	return n
}

func (r *debianRegistry) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.requests)
}

func (r *debianRegistry) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

func (r *debianRegistry) stop() {
	r.front.CloseClientConnections()
	r.front.Close()
	r.process.stop()
}
