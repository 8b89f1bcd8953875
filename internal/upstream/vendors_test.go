package upstream

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// vendor is a registry that has no profile of its own, by what is known of its challenges.
// {self}, {token}, {host} and {name} stand for the registry, its token server, the host of
// the registry and the repository.
type vendor struct {
	// ping and content are challenges: that of the version check, empty = the other one,
	// and that of content, empty = it is there for anybody.
	ping, content string
	// path is that of the token server, and service and scope what it insists on. Whatever
	// else it is asked for, the answer is wrong.
	path, service, scope string
	wrong                int
	// answer is a token; empty = the usual one.
	answer string
	// guarded is what nobody is told by the token server, in place of a token; 0 = a token.
	guarded int
	// first and then are how many requests it takes to get a manifest as nobody, and the
	// next one.
	first, then int
}

func vendors() map[string]vendor {
	const usual, ofName = "repository:{name}:pull", `,scope="repository:{name}:pull"`
	redHat := `Bearer realm="{token}/auth/realms/rhcc/protocol/redhat-docker-v2/auth",service="docker-registry"`
	openShift := `Bearer realm="{self}/openshift/token"`
	keppel := `Bearer realm="{self}/keppel/v1/auth",service="{host}"`
	nexus := `,service="{self}/v2/token",scope="repository:*:pull"`
	return map[string]vendor{
		"mcr.microsoft.com":          {first: 1, then: 1},
		"registry.access.redhat.com": {first: 1, then: 1},
		"mirror.gcr.io":              {first: 1, then: 1},
		"cgr.dev": {
			content: `Bearer realm="{self}/token",service="cgr.dev"` + ofName, path: "/token", service: "cgr.dev", scope: usual, wrong: 403, first: 3, then: 1,
		},
		"registry.redhat.io": {
			content: redHat, path: "/auth/realms/rhcc/protocol/redhat-docker-v2/auth", service: "docker-registry", scope: usual, wrong: 400,
			answer: `{"token":"good","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}`, guarded: 401,
		},
		"docker.elastic.co": {
			content: `Bearer realm="{token}/auth",service="token-service"` + ofName, path: "/auth", service: "token-service", scope: usual, wrong: 400, first: 3, then: 1,
		},
		"icr.io": {
			content: `Bearer realm={self}/oauth/token, service=registry, scope=repository:{name}:pull`,
			path:    "/oauth/token", service: "registry", scope: usual, wrong: 401, first: 3, then: 1,
		},
		"container-registry.oracle.com": {
			content: `Bearer realm="{self}/auth",service="Oracle Registry"` + ofName, ping: `Bearer realm="{self}/auth",service="Oracle Registry"`,
			path: "/auth", service: "Oracle Registry", scope: usual, wrong: 404, first: 3, then: 1,
		},
		"lscr.io": {
			content: `Bearer realm="{token}/token",service="ghcr.io"` + ofName, path: "/token", service: "ghcr.io", scope: usual, wrong: 403, first: 3, then: 1,
		},
		"dhi.io": {
			content: `Bearer realm="{self}/token",service="registry.docker.io"` + ofName, path: "/token", service: "registry.docker.io", scope: usual, wrong: 400, guarded: 401,
		},
		"keppel":    {content: keppel + ofName, ping: keppel, path: "/keppel/v1/auth", service: "{host}", scope: usual, wrong: 400, first: 3, then: 1},
		"openshift": {content: openShift, path: "/openshift/token", scope: usual, wrong: 401, answer: `{"token":"good","access_token":"good"}`, first: 3, then: 1},
		"nexus, no scheme": {
			content: `Bearer realm="null://{host}/v2/token"` + nexus, path: "/v2/token", service: "{self}/v2/token", scope: "repository:*:pull", wrong: 400, first: 3, then: 1,
		},
		"nexus, the port twice": {
			content: `Bearer realm="{self}{port}/v2/token"` + nexus, path: "/v2/token", service: "{self}/v2/token", scope: "repository:*:pull", wrong: 400, first: 3, then: 1,
		},
		"gitea": {
			content: `Bearer realm="{self}/v2/token",service="container_registry",scope="*"`, path: "/v2/token", service: "container_registry", scope: "*", wrong: 401, first: 3, then: 1,
		},
	}
}

// open starts the registry and its token server. Neither takes user and password for
// content, and what the one gives is good for nothing else.
func (v vendor) open(t *testing.T) (registry, tokens *httptest.Server, asked *[]string) {
	asked = new([]string)
	var expand func(text, name string) string
	token := func(w http.ResponseWriter, r *http.Request, name string) {
		_, _, known := r.BasicAuth()
		switch q := r.URL.Query(); {
		case q.Get("service") != expand(v.service, name) || q.Get("scope") != expand(v.scope, name):
			w.WriteHeader(v.wrong)
		case v.guarded != 0 && !known:
			w.WriteHeader(v.guarded)
		case v.answer != "":
			_, _ = io.WriteString(w, v.answer)
		default:
			_, _ = io.WriteString(w, `{"token":"good"}`)
		}
	}
	serve := func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.String())
		name, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/manifests/")
		challenge := v.content
		switch {
		case r.URL.Path == v.path:
			scope := strings.Split(r.URL.Query().Get("scope"), ":")
			token(w, r, scope[min(1, len(scope)-1)])
			return
		case r.URL.Path == "/v2/" && v.ping != "":
			challenge = v.ping
		}
		if challenge != "" && r.Header.Get("Authorization") != "Bearer good" {
			w.Header().Set("WWW-Authenticate", expand(challenge, name))
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		sendIndex(w)
	}
	registry, tokens = script(t, serve), script(t, serve)
	at := mustURL(t, registry.URL)
	expand = func(text, name string) string {
		return strings.NewReplacer("{self}", registry.URL, "{token}", tokens.URL, "{host}", at.Host, "{port}", ":"+at.Port(), "{name}", name).Replace(text)
	}
	return registry, tokens, asked
}

// TestVendors pulls from registries of which only the challenges are known, as nobody and
// with an account.
func TestVendors(t *testing.T) {
	t.Parallel()
	for name, v := range vendors() {
		t.Run(name, func(t *testing.T) {
			for _, account := range []bool{false, true} {
				registry, tokens, asked := v.open(t)
				c := newClient(t, registry.URL, func(o *Options) {
					if account {
						o.Credentials, o.AuthOrigins = BasicCredentials(registrytest.Username, registrytest.Password), []string{tokens.URL}
					}
				})
				for n, repository := range []string{"team/app", "team/app", "other"} {
					*asked = nil
					_, err := c.Manifest(t.Context(), repository, tag("1"))
					if v.guarded != 0 && !account {
						wantClass(t, err, oci.ClassDenied)
						continue
					}
					limit := [3]int{v.first, v.then, v.first}[n]
					if err != nil || !account && len(*asked) > limit {
						t.Errorf("account %t, request %d: %v after %q, want %d", account, n, err, *asked, limit)
					}
				}
			}
		})
	}
}

// A blob of mcr.microsoft.com lies at a path with two slashes, of registry.redhat.io and
// cgr.dev at one with an escaped colon: it is asked for as the redirect spells it.
func TestRedirectIsFollowedAsItIsSpelled(t *testing.T) {
	t.Parallel()
	for _, to := range []string{
		"/0a1b2c//docker/registry/v2/blobs/sha256/ab/data?se=2026-01-01T00%3A00%3A00Z&sig=a%2Fb%3D&regid=0a1b2c",
		"/prod/sha256%3Aabcdef?X-Amz-Signature=x+y%20z", "/a%2Fb/../c?x", "/a?b=c&b=d&&e",
	} {
		var got string
		cdn := script(t, func(w http.ResponseWriter, r *http.Request) {
			got = r.RequestURI
			_, _ = io.WriteString(w, "blob")
		})
		s := script(t, func(w http.ResponseWriter, _ *http.Request) { redirect(w, http.StatusTemporaryRedirect, cdn.URL+to) })
		b, err := newClient(t, s.URL).Blob(t.Context(), repo, oci.Sum([]byte("blob")), 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		_ = b.Close()
		want := to
		if strings.Contains(to, "/../") {
			want = "/c?x" // as RFC 3986 resolves it
		}
		if u, err := url.ParseRequestURI(want); err != nil || got != u.RequestURI() {
			t.Errorf("%s is asked for as %s", to, got)
		}
	}
}
