package registry

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

var (
	hex64      = strings.Repeat("0123456789abcdef", 4)
	testDigest = digest.Digest("sha256:" + hex64)
)

// testUpstreams has Docker Hub with the aliases that clients use for ns, one
// upstream on a port, and one whose name has no dot.
func testUpstreams() map[string]Upstream {
	hub := Upstream{Name: "docker.io"}
	return map[string]Upstream{
		"docker.io":            hub,
		"registry-1.docker.io": hub,
		"index.docker.io":      hub,
		"ghcr.io":              {Name: "ghcr.io"},
		"gcr.io":               {Name: "gcr.io"},
		"registry.k8s.io":      {Name: "registry.k8s.io"},
		"k8s.gcr.io":           {Name: "registry.k8s.io"},
		"harbor.corp:8443":     {Name: "harbor.corp:8443"},
		"corp":                 {Name: "corp"},
		"hub":                  hub,
	}
}

// cutTarget splits what stands in a request line as a server does.
func cutTarget(t testing.TB, target string) (path, query string) {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("parse %q: %v", target, err)
	}
	return u.EscapedPath(), u.RawQuery
}

// parsePath returns what a Handler makes of an escaped path and a raw query, and whether
// the path is one of the API.
func parsePath(rt *Router, path, query string) (Route, bool) {
	up, rest, ok := rt.split(path)
	if !ok {
		return Route{Err: rt.errAstray(path)}, false
	}
	return rt.parse(up, rest, query), true
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	const d = "sha256:"
	for _, test := range []struct {
		target, fallback string
		want             string // kind upstream repository reference
		name, namespace  string
	}{
		// by prefix
		{target: "/v2/proxy-docker.io/library/nginx/manifests/latest", want: "manifest docker.io library/nginx latest", name: "proxy-docker.io/library/nginx"},
		{target: "/v2/proxy-docker.io/nginx/manifests/latest", want: "manifest docker.io library/nginx latest", name: "proxy-docker.io/nginx"},
		{target: "/v2/proxy-registry.k8s.io/pause/manifests/3.10", want: "manifest registry.k8s.io pause 3.10", name: "proxy-registry.k8s.io/pause"},
		{target: "/v2/proxy-k8s.gcr.io/pause/manifests/3.10", want: "manifest registry.k8s.io pause 3.10", name: "proxy-k8s.gcr.io/pause"},
		{target: "/v2/proxy-harbor.corp:8443/a/b/tags/list", want: "tags harbor.corp:8443 a/b ", name: "proxy-harbor.corp:8443/a/b"},
		{target: "/v2/proxy-ghcr.io/a/b/blobs/" + d + hex64, want: "blob ghcr.io a/b " + d + hex64, name: "proxy-ghcr.io/a/b"},
		{target: "/v2/proxy-ghcr.io/a/b/blobs/sha256%3A" + hex64, want: "blob ghcr.io a/b " + d + hex64, name: "proxy-ghcr.io/a/b"},
		{target: "/v2/proxy-ghcr.io/a/b/manifests/sha256%3a" + hex64, want: "manifest ghcr.io a/b " + d + hex64, name: "proxy-ghcr.io/a/b"},
		{target: "/v2/proxy-ghcr.io/a/referrers/" + d + hex64 + "?artifactType=x", want: "referrers ghcr.io a " + d + hex64, name: "proxy-ghcr.io/a"},
		{target: "/v2/proxy-ghcr.io/a/manifests/sha256-" + hex64 + ".sig", want: "manifest ghcr.io a sha256-" + hex64 + ".sig", name: "proxy-ghcr.io/a"},
		// the prefix goes before ns, whatever that says
		{target: "/v2/proxy-registry.k8s.io/pause/manifests/1?ns=k8s.gcr.io", want: "manifest registry.k8s.io pause 1", name: "proxy-registry.k8s.io/pause"},
		{target: "/v2/proxy-ghcr.io/a/manifests/1?ns=docker.io", want: "manifest ghcr.io a 1", name: "proxy-ghcr.io/a"},
		{target: "/v2/proxy-ghcr.io/a/manifests/1?ns=unknown.io&ns=%zz;", want: "manifest ghcr.io a 1", name: "proxy-ghcr.io/a"},
		// by the registry's name
		{target: "/v2/docker.io/library/nginx/manifests/latest?ns=docker.io", want: "manifest docker.io library/nginx latest", name: "docker.io/library/nginx"},
		{target: "/v2/index.docker.io/nginx/manifests/latest", want: "manifest docker.io library/nginx latest", name: "index.docker.io/nginx"},
		{target: "/v2/corp/a/manifests/1", want: "manifest corp a 1", name: "corp/a"},
		{target: "/v2/ghcr.io/proxy-wasm/x/manifests/1", want: "manifest ghcr.io proxy-wasm/x 1", name: "ghcr.io/proxy-wasm/x"},
		{target: "/v2/proxy-ghcr.io/docker.io/x/manifests/1", want: "manifest ghcr.io docker.io/x 1", name: "proxy-ghcr.io/docker.io/x"},
		// /v2 after the prefix
		{target: "/v2/proxy-docker.io/v2/library/nginx/manifests/latest?ns=docker.io", want: "manifest docker.io library/nginx latest", name: "library/nginx"},
		{target: "/v2/docker.io/v2/nginx/manifests/latest", want: "manifest docker.io library/nginx latest", name: "nginx"},
		{target: "/v2/proxy-ghcr.io/v2/v2/x/manifests/1", want: "manifest ghcr.io v2/x 1", name: "v2/x"},
		{target: "/v2/proxy-ghcr.io/v2/manifests/1", want: "manifest ghcr.io v2 1", name: "proxy-ghcr.io/v2"},
		{target: "/v2/proxy-ghcr.io/v2/tags/list", want: "tags ghcr.io v2 ", name: "proxy-ghcr.io/v2"},
		{target: "/v2/proxy-ghcr.io/v2/manifests/manifests/1", want: "manifest ghcr.io manifests 1", name: "manifests"},
		// the prefix before /v2
		{target: "/proxy-docker.io/v2/library/nginx/manifests/latest", want: "manifest docker.io library/nginx latest", name: "library/nginx"},
		{target: "/proxy-docker.io/v2/nginx/blobs/" + d + hex64 + "?ns=ghcr.io", want: "blob docker.io library/nginx " + d + hex64, name: "nginx"},
		{target: "/proxy-ghcr.io/v2/proxy-docker.io/x/manifests/1", want: "manifest ghcr.io proxy-docker.io/x 1", name: "proxy-docker.io/x"},
		{target: "/proxy-ghcr.io/v2/v2/x/manifests/1", want: "manifest ghcr.io v2/x 1", name: "v2/x"},
		// by ns
		{target: "/v2/library/nginx/manifests/latest?ns=docker.io", want: "manifest docker.io library/nginx latest", name: "library/nginx", namespace: "docker.io"},
		{target: "/v2/nginx/manifests/latest?ns=registry-1.docker.io", want: "manifest docker.io library/nginx latest", name: "nginx", namespace: "registry-1.docker.io"},
		{target: "/v2/a/b/manifests/1?ns=harbor.corp%3A8443", want: "manifest harbor.corp:8443 a/b 1", name: "a/b", namespace: "harbor.corp:8443"},
		{target: "/v2/google.com/p/x/manifests/1?ns=gcr.io", want: "manifest gcr.io google.com/p/x 1", name: "google.com/p/x", namespace: "gcr.io"},
		{target: "/v2/a/manifests/1?ns=ghcr.io", fallback: "docker.io", want: "manifest ghcr.io a 1", name: "a", namespace: "ghcr.io"},
		{target: "/v2/v2/a/manifests/1?ns=ghcr.io", want: "manifest ghcr.io v2/a 1", name: "v2/a", namespace: "ghcr.io"},
		// a bare name gives way to ns: it may as well begin a repository
		{target: "/v2/corp/a/manifests/1?ns=ghcr.io", want: "manifest ghcr.io corp/a 1", name: "corp/a", namespace: "ghcr.io"},
		{target: "/v2/corp/a/manifests/1?%6es=ghcr.io", want: "manifest ghcr.io corp/a 1", name: "corp/a", namespace: "ghcr.io"},
		{target: "/v2/corp/a/manifests/1?ns=corp", want: "manifest corp corp/a 1", name: "corp/a", namespace: "corp"},
		{target: "/v2/hub/a/manifests/1?ns=docker.io", want: "manifest docker.io hub/a 1", name: "hub/a", namespace: "docker.io"},
		{target: "/v2/hub/a/manifests/1?ns=hub", want: "manifest docker.io hub/a 1", name: "hub/a", namespace: "hub"},
		{target: "/v2/hub/v2/a/tags/list?ns=ghcr.io", want: "tags ghcr.io hub/v2/a ", name: "hub/v2/a", namespace: "ghcr.io"},
		{target: "/v2/hub/a/manifests/1", fallback: "ghcr.io", want: "manifest docker.io library/a 1", name: "hub/a"},
		{target: "/v2/hub/a/manifests/1?n=1&namespace=ghcr.io", want: "manifest docker.io library/a 1", name: "hub/a"},
		{target: "/v2/proxy-hub/a/manifests/1?ns=ghcr.io", want: "manifest docker.io library/a 1", name: "proxy-hub/a"},
		{target: "/proxy-hub/v2/a/manifests/1?ns=ghcr.io", want: "manifest docker.io library/a 1", name: "a"},
		{target: "/v2/harbor.corp:8443/a/manifests/1?ns=ghcr.io", want: "manifest harbor.corp:8443 a 1", name: "harbor.corp:8443/a"},
		{target: "/v2/hub/?ns=ghcr.io", want: "ping docker.io  "},
		// the colon of a port, escaped
		{target: "/v2/proxy-harbor.corp%3A8443/a/manifests/1", want: "manifest harbor.corp:8443 a 1", name: "proxy-harbor.corp:8443/a"},
		{target: "/v2/proxy-harbor.corp%3a8443/a/blobs/sha256%3A" + hex64, want: "blob harbor.corp:8443 a " + d + hex64, name: "proxy-harbor.corp:8443/a"},
		{target: "/v2/harbor.corp%3A8443/v2/a/manifests/1", want: "manifest harbor.corp:8443 a 1", name: "a"},
		{target: "/proxy-harbor.corp%3A8443/v2/a/manifests/1?ns=ghcr.io", want: "manifest harbor.corp:8443 a 1", name: "a"},
		{target: "/proxy-harbor.corp%3a8443/v2/", want: "ping harbor.corp:8443  "},
		{target: "/v2/proxy-harbor.corp%3A8443", want: "ping harbor.corp:8443  "},
		// an endpoint that ends in a slash
		{target: "/v2/proxy-docker.io//library/alpine/manifests/3", want: "manifest docker.io library/alpine 3", name: "proxy-docker.io/library/alpine"},
		{target: "/v2/proxy-ghcr.io//a/tags/list", want: "tags ghcr.io a ", name: "proxy-ghcr.io/a"},
		{target: "/v2/docker.io//nginx/blobs/" + d + hex64, want: "blob docker.io library/nginx " + d + hex64, name: "docker.io/nginx"},
		{target: "/v2//library/alpine/manifests/3?ns=docker.io", want: "manifest docker.io library/alpine 3", name: "library/alpine", namespace: "docker.io"},
		{target: "/v2//alpine/manifests/3", fallback: "docker.io", want: "manifest docker.io library/alpine 3", name: "alpine"},
		{target: "/v2//proxy-ghcr.io/a/manifests/3", want: "manifest ghcr.io a 3", name: "proxy-ghcr.io/a"},
		{target: "/v2/proxy-ghcr.io//v2//a/manifests/3", want: "manifest ghcr.io a 3", name: "a"},
		{target: "/proxy-ghcr.io//v2/a/manifests/3", want: "manifest ghcr.io a 3", name: "a"},
		{target: "/proxy-ghcr.io/v2//a/referrers/" + d + hex64, want: "referrers ghcr.io a " + d + hex64, name: "a"},
		{target: "/v2//", want: "ping   "},
		{target: "/v2/proxy-docker.io//", want: "ping docker.io  "},
		{target: "/v2/proxy-docker.io//v2/", want: "ping docker.io  "},
		{target: "/proxy-docker.io//v2/", want: "ping docker.io  "},
		// by default
		{target: "/v2/nginx/manifests/latest", fallback: "index.docker.io", want: "manifest docker.io library/nginx latest", name: "nginx"},
		{target: "/v2/a/b/tags/list?n=1", fallback: "ghcr.io", want: "tags ghcr.io a/b ", name: "a/b"},
		// parameters of the push half are nobody's here
		{target: "/v2/proxy-ghcr.io/a/manifests/1?digest=x&mount=y&from=z", want: "manifest ghcr.io a 1", name: "proxy-ghcr.io/a"},
		// names that look like the words of the API
		{target: "/v2/proxy-ghcr.io/blobs/tags/manifests/list", want: "manifest ghcr.io blobs/tags list", name: "proxy-ghcr.io/blobs/tags"},
		{target: "/v2/proxy-ghcr.io/tags/list/tags/list", want: "tags ghcr.io tags/list ", name: "proxy-ghcr.io/tags/list"},
		{target: "/v2/proxy-ghcr.io/" + strings.Repeat("a", 255) + "/manifests/1", want: "manifest ghcr.io " + strings.Repeat("a", 255) + " 1", name: "proxy-ghcr.io/" + strings.Repeat("a", 255)},
		// pings
		{target: "/v2/", want: "ping   "},
		{target: "/v2", want: "ping   "},
		{target: "/v2/?ns=unknown.io", want: "ping   "},
		{target: "/v2/proxy-docker.io", want: "ping docker.io  "},
		{target: "/v2/proxy-docker.io/", want: "ping docker.io  "},
		{target: "/v2/proxy-docker.io/v2", want: "ping docker.io  "},
		{target: "/v2/proxy-docker.io/v2/", want: "ping docker.io  "},
		{target: "/v2/docker.io/", want: "ping docker.io  "},
		{target: "/v2/docker.io/v2/", want: "ping docker.io  "},
		{target: "/proxy-docker.io/v2", want: "ping docker.io  "},
		{target: "/proxy-docker.io/v2/", want: "ping docker.io  "},
	} {
		t.Run(strings.ReplaceAll(test.target, hex64, "…"), func(t *testing.T) {
			rt := NewRouter(testUpstreams(), test.fallback)
			path, query := cutTarget(t, test.target)
			r, served := parsePath(rt, path, query)
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			got := strings.Join([]string{string(r.Request.Kind), r.Request.Upstream, r.Request.Repository, r.Request.Reference.String()}, " ")
			if got != test.want || r.Request.Name != test.name || r.Namespace != test.namespace {
				t.Errorf("got %q as %q by ns %q, want %q as %q by %q", got, r.Request.Name, r.Namespace, test.want, test.name, test.namespace)
			}
			if !served {
				t.Error("the path is not served")
			}
		})
	}
}

func TestRoutesRefuse(t *testing.T) {
	t.Parallel()
	const p = "/v2/proxy-docker.io"
	for _, test := range []struct {
		target, fallback string
		status           int
		code             oci.Code
	}{
		// upstreams
		{target: "/v2/proxy-unknown/x/manifests/1", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/proxy-unknown/x/manifests/1?ns=docker.io", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/proxy-/x/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/proxy-unknown/", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/PROXY-docker.io/library/nginx/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/proxy-Docker.io/library/nginx/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/quay.io/a/b/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/localhost/a/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/quay.io:443/a/manifests/1", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/a/manifests/1?ns=quay.io", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/a/manifests/1?ns=", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/a/manifests/1?ns=DOCKER.IO", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/a/manifests/1?ns=169.254.169.254", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/hub/a/manifests/1?ns=quay.io", fallback: "docker.io", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/hub/a/manifests/1?ns=", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/hub/a/manifests/1?ns=ghcr.io&ns=hub", status: 400, code: oci.CodeUnsupported},
		{target: "/v2/hub/a/manifests/1?x;ns=ghcr.io", status: 400, code: oci.CodeUnsupported},
		{target: "/v2/proxy-nope%3A5000/a/manifests/1", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/nope%3A5000/a/manifests/1", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/proxy-nope//a/manifests/1", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/a/manifests/1?ns=docker.io&ns=ghcr.io", status: 400, code: oci.CodeUnsupported},
		{target: "/v2/a/manifests/1?ns=docker.io%zz", fallback: "docker.io", status: 400, code: oci.CodeUnsupported},
		{target: "/v2/a/manifests/1?x;ns=docker.io", fallback: "docker.io", status: 400, code: oci.CodeUnsupported},
		{target: "/v2/library/nginx/manifests/1", status: 404, code: oci.CodeNameUnknown},
		{target: "/v2/library/nginx/manifests/1", fallback: "unknown.io", status: 404, code: oci.CodeNameUnknown},
		// names
		{target: p + "/Library/Nginx/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/%2e%2e/proxy-ghcr.io/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/%2E%2e/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/..%2fa/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/%252e/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/../proxy-ghcr.io/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/./a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a%2fb/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a%00b/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a%0d%0ab/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a/manifests/1%0d%0a", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a/manifests/%6catest", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a/%6danifests/latest", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a/tags/li%73t", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/proxy%2Ddocker.io/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + `/a\b/manifests/1`, status: 400, code: oci.CodeNameInvalid},
		{target: p + "/ünï/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a\u200db/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "//manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "//../a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/%2fa/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "//a//b/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/library//a/manifests/1?ns=docker.io", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/hub//a/manifests/1?ns=ghcr.io", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/proxy-harbor.corp%253A8443/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/proxy-harbor%2Ecorp%3A8443/a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a%3Ab/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a%3Ab/c/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: "/v2/a%3Ab/c/manifests/1?ns=ghcr.io", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a//manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a//b/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/tags/list", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/" + strings.Repeat("a", 256) + "/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/" + strings.Repeat("a", 248) + "/manifests/1", status: 400, code: oci.CodeNameInvalid}, // with library/
		{target: p + "/" + strings.Repeat("a", 64<<10) + "/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/-a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a-/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a..b/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a___b/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/.a/manifests/1", status: 400, code: oci.CodeNameInvalid},
		{target: p + "/a./manifests/1", status: 400, code: oci.CodeNameInvalid},
		// references
		{target: p + "/a/blobs/sha256:" + hex64[1:], status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/manifests/sha256:" + hex64 + "0", status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/blobs/sha256", status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/blobs/uploads", status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/manifests/:abc", status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/referrers/sha256:sha256:" + hex64, status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/blobs/md5:" + hex64[:32], status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/blobs/sha512:" + hex64, status: 400, code: oci.CodeDigestInvalid},
		{target: p + "/a/manifests/.x", status: 400, code: oci.CodeManifestInvalid},
		{target: p + "/a/manifests/" + strings.Repeat("x", 129), status: 400, code: oci.CodeManifestInvalid},
		// no endpoints
		{target: "/v2/_catalog", fallback: "docker.io", status: 404, code: oci.CodeUnsupported},
		{target: p + "/_catalog?n=10", status: 404, code: oci.CodeUnsupported},
		{target: p + "/library/nginx", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/manifests/latest/", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/manifests/", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/blobs/uploads/", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/blobs/uploads/1-2-3", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/tags/list/", status: 404, code: oci.CodeUnsupported},
		{target: p + "/a/tags/lists", status: 404, code: oci.CodeUnsupported},
	} {
		name := test.target
		if len(name) > 100 {
			name = name[:100]
		}
		t.Run(name, func(t *testing.T) {
			rt := NewRouter(testUpstreams(), test.fallback)
			path, query := cutTarget(t, test.target)
			r, served := parsePath(rt, path, query)
			var e *oci.Error
			if !errors.As(r.Err, &e) || e.Status != test.status || e.Code != test.code {
				t.Errorf("got %+v, want %d %s", r, test.status, test.code)
			}
			if !served {
				t.Error("the path is left to others")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, target := range []string{
		"/v2/", "/v2/proxy-docker.io/library/nginx/manifests/latest", "/v2/proxy-docker.io/v2/nginx/blobs/sha256%3A" + hex64,
		"/proxy-ghcr.io/v2/a/tags/list", "/v2/ghcr.io/a/referrers/sha256:" + hex64, "/v2/a/manifests/1", "/v2/v2/v2/manifests/v2",
		"/v2/proxy-PROXY/../%2e//manifests/%", "/v2/hub/a/manifests/1", "/v2/proxy-harbor.corp%3A8443//v2//a/tags/list", "/proxy-ghcr.io//v2//a/manifests/1",
		"/proxy-nope.io/v2/a/manifests/1", "/docker.io/v2/", "//v2/a", "/%762/", "/v2/proxy-ghcr.io/v2/manifests/1", "/v2//", "/proxy-",
	} {
		f.Add(target, "ns=docker.io", "docker.io")
		f.Add(target, "", "")
	}
	f.Fuzz(func(t *testing.T, path, query, fallback string) {
		rt := NewRouter(testUpstreams(), fallback)
		r, served := parsePath(rt, path, query)
		if r.Err != nil {
			var e *oci.Error
			if !errors.As(r.Err, &e) || e.Status < 400 || e.Status >= 500 || r.Request != (oci.Request{}) || r.Namespace != "" {
				t.Fatalf("%q with query %q is %+v", path, query, r)
			}
			if !served && e.Status != http.StatusNotFound {
				t.Fatalf("%q is %d", path, e.Status)
			}
			rt.astray(&url.URL{Path: path, RawQuery: query})
			return
		}
		if !served {
			t.Fatalf("%q parses, but is not served", path)
		}
		checkRoute(t, rt, r)
	})
}

// checkRoute fails unless everything in r satisfies the grammar, and the same
// request comes out of the canonical path and of the client's own name.
func checkRoute(t *testing.T, rt *Router, r Route) {
	q := r.Request
	if r.Namespace != "" && rt.upstreams[r.Namespace].Name != q.Upstream {
		t.Fatalf("ns %q led to %q", r.Namespace, q.Upstream)
	}
	if q.Kind == oci.KindPing {
		return
	}
	up, ok := rt.upstreams[q.Upstream]
	if !ok || up.Name != q.Upstream {
		t.Fatalf("%+v is of no canonical upstream", q)
	}
	if err := oci.CheckRepository(q.Repository); err != nil {
		t.Fatal(err)
	}
	if up.Name == "docker.io" && !strings.Contains(q.Repository, "/") {
		t.Fatalf("%+v lacks library/", q)
	}
	if !strings.HasSuffix(q.Repository, q.Name[strings.LastIndex(q.Name, "/")+1:]) {
		t.Fatalf("%+v goes by another name", q)
	}
	suffix := ""
	switch q.Kind {
	case oci.KindManifest:
		if back, err := oci.ParseReference(q.Reference.String()); err != nil || back != q.Reference {
			t.Fatalf("%+v has a bad reference: %v", q, err)
		}
		suffix = "/manifests/" + q.Reference.String()
	case oci.KindBlob, oci.KindReferrers:
		if _, err := oci.ParseDigest(q.Reference.Digest.String()); err != nil || q.Reference.Tag != "" {
			t.Fatalf("%+v has a bad digest: %v", q, err)
		}
		suffix = "/blobs/" + q.Reference.String()
		if q.Kind == oci.KindReferrers {
			suffix = "/referrers/" + q.Reference.String()
		}
	case oci.KindTags:
		suffix = "/tags/list"
	default:
		t.Fatalf("kind is %q", q.Kind)
	}
	canonical := "/v2/proxy-" + q.Upstream + "/v2/" + q.Repository + suffix
	back, _ := parsePath(rt, canonical, "")
	want := q
	want.Name = q.Repository
	if back.Err != nil || back.Request != want {
		t.Fatalf("%q became %+v, want %+v", canonical, back, want)
	}
}

func BenchmarkParse(b *testing.B) {
	rt := NewRouter(testUpstreams(), "")
	for name, target := range map[string]string{
		"prefix": "/v2/proxy-docker.io/library/nginx/blobs/sha256:" + hex64 + "?ns=docker.io",
		"ns":     "/v2/library/nginx/blobs/sha256:" + hex64 + "?ns=docker.io",
	} {
		path, query := cutTarget(b, target)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r, _ := parsePath(rt, path, query); r.Err != nil {
					b.Fatal(r.Err)
				}
			}
		})
	}
}
