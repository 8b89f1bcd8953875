package upstream

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// doorman is a registry whose repositories authenticate each in its own way.
type doorman struct {
	*httptest.Server

	repositories map[string]rule
	// ping are the challenges to the ping; none = 200.
	ping []string

	mu   sync.Mutex
	seen map[string]int // requests by kind: ping, token, manifest
}

// rule is how one repository is asked.
type rule struct {
	realm string // the path of its token server; empty = it is open
	scope string // that the challenge names, and the token has to be for; empty = its own
	// challenge is what a 401 says; %s = the URL. Empty = the usual one.
	challenge string
	// refused is how who has no right is told: "token" = the token server answers
	// 403, "empty" = its token grants nothing and the answer is 401, "foreign" = 401
	// with the challenge of another realm; empty = nobody is refused.
	refused string
	bare    int // status without a token and without a challenge, in place of 401
}

func newDoorman(t testing.TB, repositories map[string]rule, ping ...string) *doorman {
	d := &doorman{repositories: repositories, ping: ping, seen: map[string]int{}}
	d.Server = script(t, d.serve)
	return d
}

func (d *doorman) count(kind string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen[kind]++
}

func (d *doorman) reset() (seen map[string]int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen, d.seen = d.seen, map[string]int{}
	return seen
}

func (d *doorman) serve(w http.ResponseWriter, r *http.Request) {
	name, isManifest := strings.CutPrefix(r.URL.Path, "/v2/")
	name, _, isManifest2 := strings.Cut(name, "/manifests/")
	switch {
	case r.URL.Path == "/v2/":
		d.count("ping")
		for _, c := range d.ping {
			w.Header().Add("WWW-Authenticate", strings.ReplaceAll(c, "%s", d.URL))
		}
		if len(d.ping) > 0 && r.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	case strings.HasPrefix(r.URL.Path, "/token"):
		d.count("token")
		d.serveToken(w, r)
	case isManifest && isManifest2:
		d.count("manifest")
		d.serveManifest(w, r, name, d.repositories[name])
	}
}

// serveToken gives a token that tells realm and scope.
func (d *doorman) serveToken(w http.ResponseWriter, r *http.Request) {
	scope := r.URL.Query().Get("scope")
	for name, rule := range d.repositories {
		if rule.refused == "token" && scope == rule.scopeOf(name) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
	}
	_, _ = fmt.Fprintf(w, `{"token":%q}`, r.URL.Path+"|"+scope)
}

func (r rule) scopeOf(name string) string {
	if r.scope != "" {
		return r.scope
	}
	return "repository:" + name + ":pull"
}

func (d *doorman) serveManifest(w http.ResponseWriter, r *http.Request, name string, rule rule) {
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case rule.realm == "", token == rule.realm+"|"+rule.scopeOf(name) && rule.refused == "":
		sendIndex(w)
		return
	case token == "" && rule.bare != 0:
		w.WriteHeader(rule.bare)
		return
	}
	challenge := rule.challenge
	if challenge == "" {
		challenge = `Bearer realm="%s` + rule.realm + `",service="s",scope="` + rule.scopeOf(name) + `"`
	}
	if rule.refused == "foreign" && token != "" {
		challenge = `Bearer realm="%s/token/elsewhere",service="other"`
	}
	w.Header().Set("WWW-Authenticate", strings.ReplaceAll(challenge, "%s", d.URL))
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`)
}

// doormen are registries as they are found. In each, the repositories without
// "refused" have to be given, in whatever order they are asked for.
func doormen() map[string]struct {
	repositories map[string]rule
	ping         []string
} {
	type doors = map[string]rule
	one := rule{realm: "/token"}
	return map[string]struct {
		repositories map[string]rule
		ping         []string
	}{
		"one realm for all": {doors{"app0": one, "app1": one, "private": {realm: "/token", refused: "token"}}, []string{`Bearer realm="%s/token",service="s"`}},
		"a realm for each": {doors{
			"app0": {realm: "/token/0"}, "app1": {realm: "/token/1"}, "k/a": {realm: "/token/k"}, "k/b": {realm: "/token/k"},
			"x": {realm: "/token/x", refused: "empty"}, "k/x": {realm: "/token/k", refused: "token"},
		}, nil},
		"another realm once a token was refused": {doors{"app0": one, "x": {realm: "/token", refused: "foreign"}, "app1": one}, nil},
		"a token server that refuses a scope":    {doors{"app0": one, "x": {realm: "/token", refused: "token"}, "app1": one}, nil},
		"grants nothing":                         {doors{"app0": one, "x": {realm: "/token", refused: "empty"}, "app1": one}, nil},
		"a placeholder in the ping": {
			doors{"app0": one, "o/n": one, "x": {realm: "/token", refused: "token"}},
			[]string{`Bearer realm="%s/token",service="s",scope="repository:user/image:pull"`},
		},
		"names that are a part of the word": {doors{
			"pos": one, "repo": one, "pull": one, "repository": one, "r": one, "sitory": one, "app": one,
		}, nil},
		"no challenge to content": {
			doors{"app0": {realm: "/token", bare: 401}, "app1": {realm: "/token", bare: 401}, "app2": {realm: "/token", bare: 403}},
			[]string{`Bearer realm="%s/token",service="s"`},
		},
		"a word in place of a scope": {doors{"a": {realm: "/token", scope: "aws"}, "b": {realm: "/token", scope: "aws"}}, nil},
		"any name":                   {doors{"a": {realm: "/token", scope: "repository:*:pull"}, "b/c": {realm: "/token", scope: "repository:*:pull"}}, nil},
		"names without the key": {doors{
			"key/a": {realm: "/token", scope: "repository:a:pull"}, "key/b/c": {realm: "/token", scope: "repository:b/c:pull"},
			"key/x": {realm: "/token", scope: "repository:x:pull", refused: "token"},
		}, nil},
		"names with a prefix": {doors{
			"a": {realm: "/token", scope: "repository:account/a:pull"}, "b": {realm: "/token", scope: "repository:account/b:pull"},
		}, nil},
		"some are open": {doors{"open": {}, "open2": {}, "closed": one, "x": {realm: "/token", refused: "token"}}, nil},
		"no scope at all": {doors{
			"a": {realm: "/token", challenge: `Bearer realm="%s/token",service="s"`}, "b": {realm: "/token", challenge: `Bearer realm="%s/token"`},
		}, nil},
		"unquoted, with spaces": {doors{"a": {realm: "/token", challenge: `bearer  Realm=%s/token , service=s, scope=repository:a:pull`}}, nil},
		"Basic beside Bearer":   {doors{"a": {realm: "/token", challenge: `Basic realm="x", Bearer realm="%s/token"`}, "b": one}, nil},
	}
}

// Whatever one repository answers, the next one is asked as after a fresh start.
func TestRepositoriesAuthenticateThemselves(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	for name, test := range doormen() {
		t.Run(name, func(t *testing.T) {
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			d := newDoorman(t, test.repositories, test.ping...)
			for _, credentials := range []bool{false, true} {
				for range 5 {
					c := newClient(t, d.URL, func(o *Options) {
						if credentials {
							o.Credentials = BasicCredentials("u", "p")
						}
					})
					d.askAround(t, c, random)
				}
			}
		})
	}
}

// askAround asks for all repositories in random order, three times.
func (d *doorman) askAround(t *testing.T, c *Client, random *rand.Rand) {
	t.Helper()
	var names []string
	for name := range d.repositories {
		names = append(names, name, name, name)
	}
	slices.Sort(names)
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	known := map[string]bool{}
	for _, name := range names {
		d.reset()
		_, err := c.Manifest(t.Context(), name, tag("1"))
		seen := d.reset()
		if refused := d.repositories[name].refused != ""; refused {
			wantClass(t, err, oci.ClassDenied)
		} else if err != nil {
			t.Errorf("%s of %v: %v", name, names, err)
		} else if known[name] && (seen["manifest"] != 1 || seen["token"]+seen["ping"] != 0) {
			t.Errorf("%s of %v costs %v once more", name, names, seen)
		}
		if seen["manifest"] > 4 || seen["token"] > 3 || seen["ping"] > 1 {
			t.Errorf("%s of %v costs %v", name, names, seen)
		}
		known[name] = true
	}
}

// A registry that behaves costs nothing more: one challenge in all, one token for
// each repository.
func TestCostOfAuthentication(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]map[string]int{
		"one realm for all":          {"app0": 3, "app1": 2},
		"a word in place of a scope": {"a": 3, "b": 1},
		"any name":                   {"a": 3, "b/c": 1},
		"some are open":              {"open": 1, "open2": 1},
	} {
		test := doormen()[name]
		d := newDoorman(t, test.repositories, test.ping...)
		c := newClient(t, d.URL)
		for _, repository := range slices.Sorted(func(yield func(string) bool) {
			for r := range want {
				if !yield(r) {
					return
				}
			}
		}) {
			d.reset()
			if _, err := c.Manifest(t.Context(), repository, tag("1")); err != nil {
				t.Fatal(err)
			}
			seen := d.reset()
			if n := seen["ping"] + seen["token"] + seen["manifest"]; n != want[repository] {
				t.Errorf("%s: %s costs %v, want %d", name, repository, seen, want[repository])
			}
		}
	}
}

// registry.k8s.io leads everything to another registry. Where that wants a token,
// anybody gets one there, whatever credentials are for the first.
func TestTokenOfAnotherRegistry(t *testing.T) {
	t.Parallel()
	other := newDoorman(t, map[string]rule{
		"k8s/pause": {realm: "/token"}, "k8s/x": {realm: "/token", refused: "empty"},
		"k8s/plain": {realm: "/token", challenge: `Bearer realm="%s/token"`},
	})
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/"); ok && rest != "" {
			http.Redirect(w, r, other.URL+"/v2/k8s/"+rest, http.StatusTemporaryRedirect)
		}
	})
	for _, credentials := range []bool{false, true} {
		c := newClient(t, s.URL, func(o *Options) {
			if credentials {
				o.Credentials = BasicCredentials("u", "p")
			}
		})
		for _, name := range []string{"pause", "plain"} {
			if _, err := c.Manifest(t.Context(), name, tag("1")); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if d, err := headManifest(t.Context(), c, name, tag("1")); err != nil || d.Digest != oci.Sum([]byte(emptyIndex)) {
				t.Errorf("HEAD %s: %v, %v", name, d, err)
			}
		}
		e := wantClass(t, second(c.Manifest(t.Context(), "x", tag("1"))), oci.ClassDenied)
		if first, err := url.Parse(s.URL); err != nil || !strings.Contains(e.Message, first.Host) {
			t.Errorf("it is not told where the redirect came from: %q", e.Message)
		}
	}
}
