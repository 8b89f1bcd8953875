package dashboard

import (
	"net/http"
	"strings"
	"testing"
)

// own are the headers of a request of the page itself.
func own(header ...string) []string {
	return append([]string{"Origin", "http://example.com", "Sec-Fetch-Site", "same-origin", actHeader, "1"}, header...)
}

// Nothing changes unless actions are on and the page itself asks.
func TestActsOnlyForItself(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil})
	pins := func() int { return len(get[[]any](p, "/api/pins")) }
	const pin = "/api/pin?pattern=docker.io/library/alpine"
	if answer, _ := p.ask(http.MethodPost, pin, own()...); answer.Code != http.StatusForbidden || !strings.Contains(answer.Body.String(), "actions") {
		t.Errorf("without actions: %d %s", answer.Code, answer.Body)
	}
	p.run.allowed.actions = true
	for name, header := range map[string][]string{
		"nothing":      nil,
		"no header":    {"Origin", "http://example.com", "Sec-Fetch-Site", "same-origin"},
		"no origin":    {actHeader, "1", "Sec-Fetch-Site", "same-origin"},
		"null":         {actHeader, "1", "Origin", "null"},
		"other origin": {actHeader, "1", "Origin", "http://evil.example"},
		"other port":   {actHeader, "1", "Origin", "http://example.com:81"},
		"other site":   {actHeader, "1", "Origin", "http://example.com", "Sec-Fetch-Site", "same-site"},
	} {
		if answer, _ := p.ask(http.MethodPost, pin, header...); answer.Code != http.StatusForbidden {
			t.Errorf("%s: %d %s", name, answer.Code, answer.Body)
		}
	}
	if answer, _ := p.ask(http.MethodGet, pin, own()...); answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", answer.Code)
	}
	if n := pins(); n != 0 {
		t.Fatalf("%d pins were made", n)
	}
	for _, header := range [][]string{own(), own()[:2:2]} {
		if len(header) == 2 { // of a browser that does not trust the origin
			header = append(header, actHeader, "1")
		}
		if answer, _ := p.ask(http.MethodPost, pin, header...); answer.Code != http.StatusOK {
			t.Errorf("%v: %d %s", header, answer.Code, answer.Body)
		}
	}
	if n := pins(); n != 1 {
		t.Errorf("%d pins, want 1", n)
	}
	p.run.allowed.users = []string{"alice"}
	for user, want := range map[string]int{"": http.StatusForbidden, "bob": http.StatusForbidden, "alice": http.StatusOK} {
		if answer, _ := p.ask(http.MethodPost, pin, own("User", user)...); answer.Code != want || want != http.StatusOK && !strings.Contains(answer.Body.String(), "actions") {
			t.Errorf("%q, when actions are for alice: %d %s", user, answer.Code, answer.Body)
		}
		if acts := p.run.allowed.acts(user); acts != (want == http.StatusOK) {
			t.Errorf("%q is told that he acts: %v", user, acts)
		}
	}
}

func TestActs(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "alice.example": {"alice"}})
	p.run.allowed.actions = true
	p.put("docker.io", "library/alpine", "3")
	p.put("alice.example", "a", "1")
	post := func(target string, code int, text string, header ...string) {
		t.Helper()
		answer, _ := p.ask(http.MethodPost, target, own(header...)...)
		if answer.Code != code || !strings.Contains(answer.Body.String(), text) {
			t.Errorf("%s: %d %s, want %d and %q", target, answer.Code, answer.Body, code, text)
		}
	}
	const image = "docker.io/library/alpine:3"
	post("/api/pin?pattern="+image, http.StatusOK, `"changed":true`)
	post("/api/remove?name="+image, http.StatusConflict, "is pinned by")
	post("/api/unpin?pattern="+image, http.StatusOK, `"changed":true`)
	post("/api/unpin?pattern="+image, http.StatusConflict, "there is no pin")
	post("/api/pin?pattern=*", http.StatusBadRequest, "no pattern of images")
	post("/api/remove?dry_run=1&name="+image, http.StatusOK, `"tags":1`)
	if l := get[listing](p, "/api/images?in=docker.io/library/alpine"); l.Total != 1 {
		t.Errorf("a dry run has left %d images", l.Total)
	}
	post("/api/remove?name="+image, http.StatusOK, `"tags":1`)
	if l := get[listing](p, "/api/images?in=docker.io"); l.Total != 0 {
		t.Errorf("there are still %v", names(l))
	}
	post("/api/remove?name="+image, http.StatusConflict, "nothing")
	for _, target := range []string{"pin?pattern=alice.example/a", "unpin?pattern=alice.example/a", "remove?name=alice.example/a:1", "refresh?name=alice.example/a:1", "probe?upstream=alice.example"} {
		post("/api/"+target, http.StatusNotFound, "alice.example", "User", "bob")
	}
	post("/api/remove?dry_run=1&name=alice.example/a:1", http.StatusOK, `"tags":1`, "User", "alice")
}
