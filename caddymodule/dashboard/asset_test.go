package dashboard

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The page and all that it needs are there below any path, small, and safe.
func TestAssets(t *testing.T) {
	p := newPage(t, nil)
	total := 0
	for name, a := range assets {
		total += len(a.content)
		for _, prefix := range []string{"/", "/some/where/"} {
			answer, passed := p.ask(http.MethodGet, prefix+name)
			h := answer.Header()
			if passed || answer.Code != http.StatusOK || answer.Body.Len() != len(a.content) || h.Get("Content-Type") == "" {
				t.Errorf("%s%s: %d, %d bytes, %v", prefix, name, answer.Code, answer.Body.Len(), h)
			}
			if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
				t.Errorf("%s: policy is %q", name, policy)
			}
			if again, _ := p.ask(http.MethodGet, prefix+name, "If-None-Match", h.Get("ETag")); again.Code != http.StatusNotModified || again.Body.Len() > 0 {
				t.Errorf("%s: asked again: %d, %d bytes", name, again.Code, again.Body.Len())
			}
		}
	}
	if total > 200<<10 {
		t.Errorf("the page has %d bytes", total)
	}
	if answer, _ := p.ask(http.MethodHead, "/"); answer.Code != http.StatusOK || answer.Body.Len() > 0 {
		t.Errorf("HEAD: %d, %d bytes", answer.Code, answer.Body.Len())
	}
	for _, path := range []string{"/nothing", "/v2", "/app.css", "/api/nothing", "/healthz"} {
		if _, passed := p.ask(http.MethodGet, path); !passed {
			t.Errorf("%s does not go to the next handler", path)
		}
	}
	err := p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/app.js", nil), nil)
	if refused, ok := err.(caddyhttp.HandlerError); !ok || refused.StatusCode != http.StatusMethodNotAllowed { //nolint:errorlint // it is returned as it is
		t.Errorf("POST: %v", err)
	}
}

// What upstreams and clients call things is never markup, and nothing is asked for
// elsewhere.
func TestAssetsAreStrict(t *testing.T) {
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setTimeout\(['"]`)
	elsewhere := regexp.MustCompile(`(?:https?:)?//[a-z0-9-]+\.[a-z]`)
	inline := regexp.MustCompile(`<script[^>]*>[^<]|<style|\son[a-z]+=|\sstyle=`)
	for name, a := range assets {
		text := strings.ReplaceAll(string(a.content), "http://www.w3.org/2000/svg", "") // which is a name
		for _, found := range []*regexp.Regexp{markup, elsewhere} {
			if at := found.FindString(text); at != "" {
				t.Errorf("%s has %q", name, at)
			}
		}
		if name == "" && inline.MatchString(text) {
			t.Errorf("the page has %q in it", inline.FindString(text))
		}
	}
}
