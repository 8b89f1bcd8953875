package dashboard

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// A user sees of upstreams, images, pulls and problems what he may pull, and nobody sees
// more.
func TestAudience(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "alice.example": {"alice"}, "both.example": {"alice", "bob"}})
	for _, name := range []string{"docker.io", "alice.example", "both.example", "left.example", "left.example#0123456789ab"} {
		p.put(name, "library/image", "1")
	}
	for user, sees := range map[string][]string{
		"": {"docker.io", "left.example"}, "bob": {"docker.io", "both.example", "left.example"},
		"alice": {"docker.io", "both.example", "alice.example", "left.example"},
	} {
		s, err := takeSnapshot(t.Context(), p.gateway)
		if err != nil {
			t.Fatal(err)
		}
		told := map[string]string{"events": string(s.view(audienceOf(s.sites, user)).encode())}
		for _, path := range []string{"images", "images?q=image", "options", "setup?client=talos&endpoint=http://gate:5000", "next", "pins"} {
			raw := get[json.RawMessage](p, "/api/"+path, "User", user)
			told[path] = string(raw)
		}
		for path, text := range told {
			for _, name := range []string{"docker.io", "alice.example", "both.example", "left.example"} {
				may := strings.Contains(strings.Join(sees, " "), name)
				if has := strings.Contains(text, name); has && !may {
					t.Errorf("%q is told of %s by %s: %s", user, name, path, text)
				} else if !has && may && name != "left.example" && path != "pins" && path != "next" {
					t.Errorf("%q is not told of %s by %s: %s", user, name, path, text)
				}
			}
			if strings.Contains(text, "0123456789ab") {
				t.Errorf("%s tells of what nobody is configured to get: %s", path, text)
			}
		}
		if clients := strings.Contains(told["events"], `"clients":[]`); clients == (user == "alice") {
			t.Errorf("clients are told to %q: %v", user, !clients)
		}
		if hidden := strings.Contains(told["events"], `"hidden":true`); hidden == (user == "alice") {
			t.Errorf("%q is told that upstreams are hidden: %v", user, hidden)
		}
		if !strings.Contains(told["images?q=image"], "left.example/library/image:1") {
			t.Errorf("what is left of an upstream that was public is not told: %s", told["images?q=image"])
		}
	}
	for _, path := range []string{"image?name=alice.example/library/image:1", "image?name=nowhere.example/a:1"} {
		if answer, _ := p.ask(http.MethodGet, "/api/"+path, "User", "bob"); answer.Code != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, answer.Code, answer.Body)
		}
	}
}

// Where two sites have a name, both have to admit.
func TestAudienceOfSeveralSites(t *testing.T) {
	open, closed := newPage(t, map[string][]string{"a.example": nil, "b.example": nil}), newPage(t, map[string][]string{"a.example": {"alice"}})
	sites := append(open.sites(), closed.sites()...)
	for user, want := range map[string]bool{"": false, "alice": true} {
		if a := audienceOf(sites, user); a.sees("a.example") != want || !a.sees("b.example") || a.all != want {
			t.Errorf("%q: %+v", user, a)
		}
	}
}

// The page of an operator shows what nobody may pull, and what is left of identities.
func TestOperatorSeesAll(t *testing.T) {
	p := newPage(t, map[string][]string{"docker.io": nil, "nobody.example": {}})
	_ = p.Cleanup()
	p.ShowAll, p.Actions = true, true
	p.start(t.Context())
	for _, name := range []string{"nobody.example", "left.example#0123456789ab"} {
		p.put(name, "library/image", "1")
	}
	s, err := takeSnapshot(t.Context(), p.gateway)
	if err != nil {
		t.Fatal(err)
	}
	a := p.run.allowed.audience(s.sites, "")
	events := string(s.view(a).encode())
	for _, want := range []string{`"nobody.example has none"`, `"nobody.example/library/secret:1"`, `"client":"10.0.0.7"`} {
		if !strings.Contains(events, want) || strings.Contains(events, `"hidden":true`) {
			t.Errorf("%s is not in %s", want, events)
		}
	}
	for path, want := range map[string]string{
		"images?q=image": "left.example", "options": "nobody.example", "setup?client=talos&endpoint=http://gate:5000": "nobody.example",
	} {
		if raw := string(get[json.RawMessage](p, "/api/"+path)); !strings.Contains(raw, want) {
			t.Errorf("%s: %s is not in %s", path, want, raw)
		}
	}
	if answer, _ := p.ask(http.MethodPost, "/api/remove?dry_run=1&name=nobody.example/library/image:1", own()...); answer.Code != http.StatusOK {
		t.Errorf("remove: %d %s", answer.Code, answer.Body)
	}
}
