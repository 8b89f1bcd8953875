package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What looks like a pull or a ping of a registry, and leads to none, is refused in
// the language of registries, whoever else there is in the server.
func TestAstray(t *testing.T) {
	t.Parallel()
	h := New(options(&fakeMirror{}))
	for target, want := range map[string]struct {
		code oci.Code
		text string
	}{
		// an upstream that is not configured, before the root
		"/proxy-nope.io/v2":                           {oci.CodeNameUnknown, `"nope.io"`},
		"/proxy-nope.io/v2/":                          {oci.CodeNameUnknown, `"nope.io"`},
		"/proxy-nope.io/v2/library/nginx/manifests/1": {oci.CodeNameUnknown, "nope.io/library/nginx:1: "},
		"/proxy-nope.io//v2//nginx/manifests/1":       {oci.CodeNameUnknown, "nope.io/nginx:1: "},
		"/proxy-nope.io/v2/a/b/blobs/sha256:" + hex64: {oci.CodeNameUnknown, "nope.io/a/b@sha256:" + hex64},
		"/proxy-nope%3A5000/v2/a/manifests/1":         {oci.CodeNameUnknown, "nope:5000/a:1: "},
		"/proxy-nope.io/v2/_catalog":                  {oci.CodeNameUnknown, `"nope.io"`},
		"/proxy-/v2/":                                 {oci.CodeNameUnknown, `""`},
		"/nope.io/v2/":                                {oci.CodeNameUnknown, `"nope.io"`},
		"/nope.io:5000/v2/a/tags/list":                {oci.CodeNameUnknown, "nope.io:5000/a: "},
		"/localhost/v2/a/manifests/1":                 {oci.CodeNameUnknown, "localhost/a:1: "},
		"/192.168.0.1/v2/a/manifests/1":               {oci.CodeNameUnknown, "192.168.0.1/a:1: "},
		"/proxy-nope.io/library/nginx/manifests/1":    {oci.CodeNameUnknown, "nope.io/library/nginx:1: "},
		"/nope.io/a/b/referrers/sha256:" + hex64:      {oci.CodeNameUnknown, "nope.io/a/b@sha256:"},
		"/nope.io/a/tags/list":                        {oci.CodeNameUnknown, "nope.io/a: "},
		"/quay.io/a/manifests/1?ns=quay.io":           {oci.CodeNameUnknown, "quay.io/a:1: "},
		"/proxy-ghrc.io/v2/a/manifests/1":             {oci.CodeNameUnknown, `did you mean "ghcr.io"?`},
		"/v2/proxy-ghcr.io:443/a/manifests/1":         {oci.CodeNameUnknown, `did you mean "ghcr.io"?`},
		"/v2/PROXY-ghcr.io/a/manifests/1":             {oci.CodeNameUnknown, `did you mean "ghcr.io"?`},
		"/v2/proxy-nope.io/v2/a/manifests/1":          {oci.CodeNameUnknown, "nope.io/a:1: "},
		"/v2/a/b/manifests/1?ns=Ghcr.io":              {oci.CodeNameUnknown, `Ghcr.io/a/b:1: no upstream is configured here under the name "Ghcr.io" (did you mean "ghcr.io"?): the`},
		"/v2/library/nginx/manifests/1":               {oci.CodeNameUnknown, "names no upstream"},
		// an upstream that is configured, in a form that is none
		"/docker.io/v2":  {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/docker.io/v2/": {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/docker.io/v2/library/nginx/manifests/1":      {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/docker.io/v2/_catalog":                       {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/harbor.corp%3A8443/v2/a/manifests/1":         {oci.CodeUnsupported, "/v2/proxy-harbor.corp:8443/<repository>"},
		"/docker.io/library/nginx/manifests/1":         {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/corp/v2/":                                    {oci.CodeUnsupported, "/v2/proxy-corp/<repository>"},
		"/corp/v2/a/manifests/1":                       {oci.CodeUnsupported, "/v2/proxy-corp/<repository>"},
		"/mirror/v2/proxy-docker.io/nginx/manifests/1": {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/mirror/v2/proxy-docker.io/":                  {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/a/b//v2/proxy-corp/a/blobs/sha256:" + hex64:  {oci.CodeUnsupported, "/v2/proxy-corp/<repository>"},
		"/docker.io/v2/proxy-ghcr.io/a/manifests/1":    {oci.CodeUnsupported, "/v2/proxy-ghcr.io/<repository>"},
		"/mirror/v2/Proxy-docker.io/a/tags/list":       {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/mirror/v2/proxy-nope.io/a/manifests/1":       {oci.CodeNameUnknown, "nope.io/a:1: "},
		"/mirror/v2/proxy-ghrc.io/":                    {oci.CodeNameUnknown, `did you mean "ghcr.io"?`},
		"/mirror%2Fv2%2Fproxy-docker.io%2Fa":           {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io":                             {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io/":                            {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io/library/nginx":               {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io/library/nginx/manifests/1":   {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io/V2/nginx/manifests/1":        {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/Proxy-docker.io/v2/":                         {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"//proxy-docker.io/v2/a/manifests/1":           {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy%2Ddocker.io/v2/a/manifests/1":          {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/proxy-docker.io%2Fv2/a/manifests/1":          {oci.CodeUnsupported, "/v2/proxy-docker.io/<repository>"},
		"/library/nginx/manifests/1?ns=docker.io":      {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"/a/blobs/sha256:" + hex64 + "?x=1&ns=nope.io": {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		// the root, doubled or escaped
		"//v2":                       {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"//v2/":                      {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"//v2/library/a/manifests/1": {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"///v2//a/manifests/1":       {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"/./v2/":                     {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"/%762/":                     {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
		"/v2%2Fa/manifests/1":        {oci.CodeUnsupported, "/v2/proxy-<upstream>/<repository>"},
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := httptest.NewRequest(method, "http://x"+target, nil)
			if _, ok := h.o.Router.Route(r.URL); !ok {
				t.Errorf("%s is left to others", target)
				continue
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusNotFound || w.Header().Get("Docker-Content-Digest") != "" {
				t.Errorf("%s %s: %d", method, target, w.Code)
			}
			if method == http.MethodHead {
				continue
			}
			checkDocument(t, w.Result(), w.Body.Bytes(), want.code)
			message := oci.AsError(errorOf(h, target)).Message
			if all := "corp, docker.io, gcr.io, ghcr.io, harbor.corp:8443 and registry.k8s.io"; !strings.Contains(message, want.text) || !strings.Contains(message, all) {
				t.Errorf("%s: %q, want %q and %q", target, message, want.text, all)
			}
			if strings.Contains(message, "index.docker.io") || strings.Count(message, "proxy-<upstream>") > 3 {
				t.Errorf("%s: %q", target, message)
			}
		}
	}
}

// errorOf returns what the router says to a target.
func errorOf(h *Handler, target string) error {
	u, err := url.ParseRequestURI("http://x" + target)
	if err != nil {
		return err
	}
	route, _ := h.o.Router.Route(u)
	return route.Err
}

// What others of the server may well answer is theirs.
func TestOthersAreLeftAlone(t *testing.T) {
	t.Parallel()
	h := New(options(&fakeMirror{}))
	for _, target := range []string{
		"/", "", "*", "/index.html", "/metrics", "/healthz", "/v1/", "/v1/_ping", "/v1/search?q=v2", "/V2/", "/V2/proxy-docker.io/a/manifests/1",
		"/v2ray", "/v2x/", "/v20/a", "/v2.1/a", "/a/v2/", "/api/v2/", "/api/v2/a/manifests/1", "/foo/v2x", "/proxy-nope.io/v2x/", "/proxy-nope.io/v2/x", "/nope.io/v2/index.html", "/proxy", "/proxy-/", "/v2.json",
		"/proxy-settings", "/proxy-settings/", "/proxy-settings/index.html", "/proxy-nope.io", "/proxy-guide.html/part", "/proxy-x/manifests/1",
		"/mirror/v2/", "/mirror/v2/a/manifests/1", "/mirror/v2/proxy-docker.io", "/mirror/v2/proxy-/", "/mirror/v2x/proxy-docker.io/", "/mirror/xv2/proxy-docker.io/", "/mirror/proxy-docker.io/a",
		"/docker.io", "/docker.io/", "/docker.io/library/nginx", "/docker.io/index.html", "/corp/", "/corp/v2/users", "/corp/a/manifests/1", "/hub/a/blobs/main",
		"/v3.21/manifests/calico.yaml", "/v3.21/v2/", "/1.0/v2/users", "/v1.2/x/manifests/deploy.yaml", "/nope.io/manifests/1", "/nope.io/a/blobs/main",
		"/library/nginx/manifests/latest", "/library/nginx/blobs/sha256:" + hex64, "/library/nginx?ns=docker.io", "/?ns=docker.io",
		"/k8s/app/manifests/deploy.yaml?ns=default", "/a/manifests/1?columns=docker.io", "/a/tags/list?ns=", "/a/tags/lists?ns=docker.io",
		"/a%2Fv2/", "/%25762/", "/.v2/", "/x/../index.html",
	} {
		r := httptest.NewRequest(http.MethodGet, "http://x/", nil)
		switch u, err := url.Parse("http://x" + target); {
		case target == "*":
			r.URL = &url.URL{Path: "*"}
		case err != nil:
			t.Fatal(err)
		default:
			r.URL = u
		}
		if _, ok := h.o.Router.Route(r.URL); ok {
			t.Errorf("%q is taken from others", target)
		}
	}
}

// TestMessagesAreBounded: neither many upstreams nor long names make a long one.
func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	upstreams := map[string]Upstream{}
	for i := range 100 {
		name := fmt.Sprintf("r%02d.example.com", i)
		upstreams[name] = Upstream{Name: name}
		upstreams["alias-"+name] = Upstream{Name: name}
	}
	rt := NewRouter(upstreams, "")
	for _, target := range []string{
		"/v2/proxy-nope.io/a/manifests/1", "/v2/a/manifests/1", "//v2/", "/v2/proxy-" + strings.Repeat("x", 9000) + "/a/manifests/1",
		"/v2/proxy-x/" + strings.Repeat("x", 9000) + "/manifests/1", "/v2/a/manifests/1?ns=" + strings.Repeat("%00", 9000),
	} {
		path, query := cutTarget(t, target)
		route, _ := parsePath(rt, path, query)
		err := route.Err
		var e *oci.Error
		if !errors.As(err, &e) || e.Status != http.StatusNotFound || len(e.Message) > 1500 || strings.Contains(e.Message, "alias-") {
			t.Fatalf("%.40s: %v", target, err)
		}
		if want := "the upstreams here are r00.example.com, r01.example.com,"; !strings.Contains(e.Message, want) || !strings.Contains(e.Message, " and 90 more") {
			t.Errorf("%.40s: %v", target, err)
		}
	}
	for n, want := range []string{"there is no upstream here", "the upstream here is r00.example.com", "the upstreams here are r00.example.com and r01.example.com"} {
		some := map[string]Upstream{}
		for i := range n {
			name := fmt.Sprintf("r%02d.example.com", i)
			some[name] = Upstream{Name: name}
		}
		if got := NewRouter(some, "").list(); got != want {
			t.Errorf("%d upstreams: %q, want %q", n, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	rt := NewRouter(testUpstreams(), "")
	for name, want := range map[string]string{
		"docker.oi": "docker.io", "dokcer.io": "docker.io", "DOCKER.IO": "docker.io", "docker.io:443": "docker.io", "ghcr.io.": "ghcr.io",
		"ghrc.io": "ghcr.io", "gcir.io": "gcr.io", "index.docker.com": "index.docker.io", "hubb": "hub", "harbor.corp:8444": "harbor.corp:8443",
		"quay.io": "", "x": "", "": "", "mcr.microsoft.com": "", strings.Repeat("docker.io", 100): "",
	} {
		for range 3 { // a map has no order
			if got := rt.nearest(name); got != want {
				t.Errorf("%.20q is near %q, want %q", name, got, want)
			}
		}
	}
}

func TestTwoAuthorizations(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{manifest: testManifest([]byte("{}"))}
	for target, method := range map[string]string{
		testPrefix + "/manifests/1": http.MethodGet, testPrefix + "/tags/list": http.MethodHead, "/v2/": http.MethodGet,
		"/proxy-nope.io/v2/": http.MethodGet, testPrefix + "/blobs/" + testDigest.String(): http.MethodHead,
	} {
		r := httptest.NewRequest(method, target, nil)
		r.Header["Authorization"] = []string{"Basic YTpi", "Basic YTpi"}
		w := httptest.NewRecorder()
		if New(options(m)).ServeHTTP(w, r); w.Code != http.StatusBadRequest || m.count() != 0 {
			t.Errorf("%s %s: %d", method, target, w.Code)
		}
		r.Header["Authorization"] = []string{"Basic YTpi"}
		w = httptest.NewRecorder()
		if New(options(m)).ServeHTTP(w, r); w.Code == http.StatusBadRequest {
			t.Errorf("%s %s with one: %d", method, target, w.Code)
		}
		m.requests = nil
	}
}

// Refusals that are made here name what this client has asked for.
func TestRefusalsNameTheImage(t *testing.T) {
	t.Parallel()
	m := &fakeMirror{manifest: testManifest([]byte("{}")), err: errors.New("no idea")}
	h := New(options(m))
	for target, want := range map[string]string{
		testPrefix + "/manifests/1":                  "ghcr.io/a/b:1: the gateway could not answer",
		testPrefix + "/blobs/" + testDigest.String(): "ghcr.io/a/b@" + testDigest.String() + ": the gateway could not answer",
		testPrefix + "/tags/list":                    "ghcr.io/a/b: the gateway could not answer",
		"/v2/hub/nginx/manifests/1":                  "docker.io/library/nginx:1: the gateway could not answer",
		"/v2/a/manifests/1?ns=ghcr.io":               "ghcr.io/a:1: the gateway could not answer",
	} {
		if w := record(h, http.MethodGet, target); !strings.Contains(w.Body.String(), `"message":"`+want) || strings.Contains(w.Body.String(), "no idea") {
			t.Errorf("%s: %s", target, w.Body)
		}
	}
	for target, want := range map[string]string{
		testPrefix + "/manifests/1": "push to ghcr.io itself", "/v2/hub/a/blobs/uploads/": "push to docker.io itself",
		"/v2/a/blobs/uploads/?ns=gcr.io": "push to gcr.io itself", "/v2/a/manifests/1": "push to the upstream itself", "/v2/proxy-nope/a/manifests/1": "push to the upstream itself",
	} {
		if w := record(h, http.MethodPut, target); w.Code != http.StatusMethodNotAllowed || !strings.Contains(w.Body.String(), want) {
			t.Errorf("PUT %s: %s", target, w.Body)
		}
	}
	m.err = nil
	r := httptest.NewRequest(http.MethodGet, testPrefix+"/manifests/1", nil)
	r.Header.Set("Range", "bytes=9-,7-")
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); !strings.Contains(w.Body.String(), "ghcr.io/a/b:1: the range has no byte of the 2") {
		t.Errorf("416: %s", w.Body)
	}
}

func BenchmarkServesOthers(b *testing.B) {
	h := New(options(&fakeMirror{}))
	r := httptest.NewRequest(http.MethodGet, "/assets/app/index.html?v=12", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := h.o.Router.Route(r.URL); ok {
			b.Fatal("taken")
		}
	}
}
