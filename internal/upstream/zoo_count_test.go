package upstream

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// asked is one thing that a registry was asked for.
type asked struct{ method, path, query, rng string }

// bill is what the clients together have cost a registry.
type bill struct {
	visible, hidden map[asked]int
	tokens          map[string]int // by repository or other scope
	pings           int
	challenges      int  // of what may be seen, to who brought nothing
	headless        int  // HEADs of it that were refused
	distrust        bool // of who brought something
	leaks           int  // of the password, to where redirects lead
}

func (h *habitat) bill() bill {
	b := bill{visible: map[asked]int{}, hidden: map[asked]int{}, tokens: map[string]int{}}
	for _, r := range h.server.Requests() {
		a := asked{r.Method, r.Path, r.Query, r.Header.Get("Range")}
		if _, _, isBasic := (&http.Request{Header: r.Header}).BasicAuth(); isBasic && r.Host == registrytest.HostCDN {
			b.leaks++
		}
		switch {
		case r.Kind == "token":
			b.tokens[h.scopeOf(r)]++
		case r.Host != registrytest.HostRegistry:
		case r.Kind == "ping":
			b.pings++
		case !h.visible(r.Path):
			b.hidden[a]++
		case r.Method == http.MethodHead && r.Status >= http.StatusBadRequest && r.Header.Get("Authorization") != "":
			b.headless, b.distrust = b.headless+1, true
		default:
			b.visible[a]++
			isDenied := r.Status == http.StatusUnauthorized
			b.distrust = b.distrust || isDenied && r.Header.Get("Authorization") != ""
			if isDenied && r.Header.Get("Authorization") == "" {
				b.challenges++
			}
		}
	}
	return b
}

// scopeOf returns the repository that a token is asked for.
func (h *habitat) scopeOf(r registrytest.Request) string {
	values, _ := url.ParseQuery(r.Query)
	scope := strings.Join(values["scope"], " ")
	name := strings.TrimSuffix(strings.TrimPrefix(scope, "repository:"), ":pull")
	if keyed, found := strings.CutPrefix(r.Path, "/artifactory/api/docker/"); found {
		key, _, _ := strings.Cut(keyed, "/")
		name = key + "/" + name
	}
	return name
}

// visible reports whether a path leads to a repository that the upstream may see.
func (h *habitat) visible(path string) bool {
	names := h.public
	if h.account && h.profile.HasAccounts() {
		names = append(slices.Clone(names), h.private)
	}
	return h.open() && slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(path, "/v2/"+name+"/") })
}

// count checks the bill: whatever many clients want is got once.
func (h *habitat) count(t *testing.T) {
	t.Helper()
	b, repositories := h.bill(), len(h.images)
	for a, n := range b.visible {
		isList := strings.HasSuffix(a.path, "/tags/list")
		if n > 2 && !isList { // once as it was answered, and once as it was challenged
			t.Errorf("%s %s %s: %d times", a.method, a.path, a.rng, n)
		}
	}
	if limit := zooClients + 2*len(b.visible); b.headless > limit {
		t.Errorf("%d HEADs were refused, want at most %d", b.headless, limit)
	}
	if b.challenges > repositories {
		t.Errorf("%d answers of 401 to who brought nothing, of %d repositories that may be seen", b.challenges, repositories)
	}
	if h.profile.Auth.Tokens != nil {
		for scope, n := range b.tokens {
			limit := 1
			switch {
			case !h.visible("/v2/" + scope + "/"):
				limit = 2 * thingsRefused // one that is refused may be out of date
			case b.distrust:
				limit = 2
			}
			if n > limit {
				t.Errorf("%d tokens of %q, want at most %d", n, scope, limit)
			}
		}
		if sum, limit := total(b.tokens), 2+repositories+len(b.hidden); h.profile.Auth.Tokens.Unbound && sum > limit {
			t.Errorf("%d tokens, where one is good for everything, want at most %d", sum, limit)
		}
	}
	if b.leaks > 0 {
		t.Errorf("%d requests with the password, of another host", b.leaks)
	}
	if b.pings > zooClients { // how to ask is known for good when something was given
		t.Errorf("%d pings", b.pings)
	}
	for a, n := range b.hidden {
		if n > 6 { // of a HEAD and of a GET, without a token, with one and with a fresh one
			t.Errorf("%s %s: %d times, and refused each time", a.method, a.path, n)
		}
	}
}

// thingsRefused is how many different requests there are in refuse.
const thingsRefused = 2 * 6

func total(counts map[string]int) (sum int) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// TestZooColdPull pulls two images one after the other: what there is to learn of a
// registry is learned once.
func TestZooColdPull(t *testing.T) {
	t.Parallel()
	for _, p := range registrytest.Profiles() {
		for _, account := range []bool{false, true} {
			e := enclose(t, p, account)
			t.Cleanup(e.server.Close)
			h := &habitat{enclosure: e}
			if !h.open() {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				g := openZooGateway(t, e)
				defer g.close()
				first, second := 0, 0
				for i, group := range []string{"open", "team"} {
					name := p.Repository(group, "pull")
					image := e.server.PutImage(name, "1", uint64(i), 5_000, 200)
					e.server.Reset()
					platform := image.Platforms[0]
					for _, path := range []string{
						"manifests/1", "manifests/" + platform.Manifest.Digest.String(), "blobs/" + platform.Config.Digest.String(),
						"blobs/" + platform.Layers[0].Digest.String(), "blobs/" + platform.Layers[1].Digest.String(),
					} {
						if a := g.ask(http.MethodGet, e, name+"/"+path); a.status != http.StatusOK {
							t.Fatalf("%s: %s", path, a)
						}
					}
					first, second = second, e.requests()
				}
				// A HEAD and a GET of the tag, and a GET of each of the four others; the challenge,
				// the token and, with an account, the ping.
				limits := [2]int{6 + 2, 6}
				if account {
					limits[0]++
				}
				if tokens := p.Auth.Tokens; tokens != nil && p.Name != "public.ecr.aws" {
					limits[1]++ // nobody can know what else a token is good for, unless its scope is a word
				}
				if tokens := p.Auth.Tokens; tokens != nil && tokens.Realm != "" {
					limits[0]++    // the ping's realm is another one
					limits[1] += 2 // as is that of each first component, and the first token is not good there
				}
				if first > limits[0] || second > limits[1] {
					t.Errorf("%d requests, then %d, want at most %d; the last: %v", first, second, limits, e.server.Requests())
				}
			})
		}
	}
}

// requests counts those that cost a registry: the second halves of redirects do not.
func (e *enclosure) requests() (n int) {
	for _, r := range e.server.Requests() {
		if r.Host != registrytest.HostCDN && !strings.HasPrefix(r.Path, "/artifacts-downloads/") {
			n++
		}
	}
	return n
}
