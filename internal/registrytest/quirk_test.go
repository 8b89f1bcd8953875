package registrytest

import (
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestQuirksServeCarefulClients breeds a registry with each quirk alone: whoever does
// what it asks for gets what is public.
func TestQuirksServeCarefulClients(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, q := range Quirks() {
		if q.Group == "" || seen[q.String()] {
			t.Errorf("%q is there twice, or in no group", q)
		}
		seen[q.String()] = true
		p := Breed("odd", q)
		w := &world{t: t, profile: p, Server: New(t, Options{Profile: &p}), images: map[string]Image{}}
		w.images["open"] = w.PutImage("open/app", "1", 0, 300)
		w.images["closed"] = w.PutImage("closed/app", "1", 1, 300)
		w.SetVisibility("closed/app", Private)
		bearer := w.bearerOf("open/app")
		if a := w.follow(w.ask("GET /v2/{open}/manifests/{index}", bearer)); a.StatusCode != http.StatusOK || a.body != string(w.images["open"].IndexBytes) {
			t.Errorf("%s: manifest: %s %.200s", q, a.Status, a.body)
		}
		if a := w.follow(w.ask("GET /v2/{open}/blobs/{layer}", bearer)); a.StatusCode != http.StatusOK || a.body != string(Random(0, 300)) {
			t.Errorf("%s: blob: %s %.200s", q, a.Status, a.body)
		}
		if a := w.follow(w.ask("GET /v2/{closed}/manifests/1", bearer)); a.StatusCode < 400 {
			t.Errorf("%s: a private repository: %s", q, a.Status)
		}
	}
}

// TestQuirksGrantWhatTheyAskFor breeds a registry with each pair of a scope and a
// refusal: whoever asks for the scope of the challenge gets what is public.
func TestQuirksGrantWhatTheyAskFor(t *testing.T) {
	for _, scope := range scopeQuirks() {
		for _, refusal := range refusalQuirks() {
			p := Breed("odd", scope, refusal)
			w := &world{t: t, profile: p, Server: New(t, Options{Profile: &p}), images: map[string]Image{}}
			w.images["open"] = w.PutImage("open/app", "1", 0, 300)
			challenge := w.ask("GET /v2/{open}/manifests/1", "").Header.Get("WWW-Authenticate")
			if !strings.Contains(challenge, "scope=") {
				continue
			}
			for _, who := range []string{"", basic} {
				if a := w.pull("/v2/{open}/manifests/1", who); a.StatusCode != http.StatusOK {
					t.Errorf("%s, %s as %q: %s %.200s", scope.Name, refusal.Name, who, a.Status, a.body)
				}
			}
		}
	}
}

// bearerOf gets a token in the way that the draft of every quirk has.
func (w *world) bearerOf(repository string) string {
	tokens := w.profile.Auth.Tokens
	if tokens == nil {
		return ""
	}
	path := tokens.Path
	if tokens.Realm != "" {
		path = tokens.Realm + before(repository) + path
	}
	at := map[Host]string{"": "{self}", HostToken: "{token}"}[tokens.Host]
	return bearerIn(w.ask("GET "+at+path+"?service=x&scope=repository:"+repository+":pull", ""))
}

// follow follows redirects, to another registry with a token of its own.
func (w *world) follow(a answer) answer {
	for a.StatusCode >= 300 && a.StatusCode < 400 {
		to, err := a.Request.URL.Parse(a.Header.Get("Location"))
		if err != nil {
			w.t.Fatal(err)
		}
		a = w.ask("GET "+to.String(), "")
		if challenge := a.Header.Get("WWW-Authenticate"); challenge != "" {
			a = w.ask("GET "+to.String(), bearerIn(w.tokenFor(challenge, "")))
		}
	}
	return a
}

// TestAtOnce asks for more than is answered at a time.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	p := Profile{Then: []step{atOnce(match{Kind: "blobs"}, 2, Reply{Status: http.StatusTooManyRequests})}}
	w := &world{t: t, profile: p, Server: New(t, Options{Profile: &p}), images: map[string]Image{}}
	w.images["open"] = w.PutImage("open/app", "1", 0, 300)
	var together sync.WaitGroup
	for range 8 {
		together.Go(func() { w.ask("GET /v2/{open}/blobs/{layer}", "") })
	}
	together.Wait()
	counts := map[int]int{}
	for _, r := range w.Requests() {
		counts[r.Status]++
	}
	if counts[http.StatusOK] < 2 || counts[http.StatusTooManyRequests] == 0 {
		t.Errorf("%v", counts)
	}
}
