package upstream

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// enclosure is one registry of the zoo, asked as nobody or with the account.
type enclosure struct {
	name    string // of the upstream
	profile registrytest.Profile
	server  *registrytest.Server
	account bool
}

// enclose starts a registry, whose server the caller closes.
func enclose(t testing.TB, p registrytest.Profile, account bool) *enclosure {
	t.Helper()
	e := &enclosure{name: p.Name + ".nobody", profile: p, account: account}
	if account {
		e.name = p.Name + ".account"
	}
	var err error
	if e.server, err = registrytest.Listen("127.0.0.1:0", registrytest.Options{Profile: &e.profile}); err != nil {
		t.Fatal(err)
	}
	return e
}

// zooGateway is a whole gateway without Caddy, in front of several registries. Its
// clock stands still unless it is moved.
type zooGateway struct {
	t       testing.TB
	clock   *clock
	dir     string
	clients []*Client
	store   *storage.Store
	cache   *mirror.Cache
	server  *httptest.Server
	client  *http.Client
}

func openZooGateway(t testing.TB, enclosures ...*enclosure) *zooGateway {
	t.Helper()
	g := &zooGateway{t: t, clock: newClock(), client: &http.Client{Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 20}}}
	now, upstreams, routes := g.clock.Now, []mirror.Upstream{}, map[string]registry.Upstream{}
	for _, e := range enclosures {
		// No machine is so slow that an answer on a reused connection is not waited for.
		o := Options{Name: e.name, URLs: []*url.URL{mustURL(t, e.server.URL())}, Now: now, Timeouts: Timeouts{Header: 2 * time.Minute, Reused: time.Minute}}
		if e.account {
			o.Credentials = BasicCredentials(registrytest.Username, registrytest.Password)
			if tokens := e.profile.Auth.Tokens; tokens != nil && tokens.Host == registrytest.HostToken {
				o.AuthOrigins = []string{strings.TrimSuffix(e.server.TokenURL(), "/token")}
			}
		}
		c, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		g.clients = append(g.clients, c)
		upstreams = append(upstreams, mirror.Upstream{
			Name: e.name, Remote: c, Access: mirror.Access{Public: true},
			Freshness: mirror.Freshness{TagTTL: time.Minute}, Bounds: mirror.Bounds{Parallel: 4, LookAhead: 6},
		})
		routes[e.name] = registry.Upstream{Name: e.name}
	}
	var err error
	g.dir = t.TempDir()
	if g.store, err = storage.Open(t.Context(), storage.Options{Path: g.dir, Now: now}); err != nil {
		t.Fatal(err)
	}
	g.cache = mirror.NewCache(mirror.CacheOptions{Records: g.store, Blobs: mirror.BlobsOf(g.store), Now: now})
	m, err := mirror.New(g.cache, mirror.Options{Upstreams: upstreams})
	if err != nil {
		t.Fatal(err)
	}
	g.server = httptest.NewServer(registry.New(registry.Options{Mirror: m, Router: registry.NewRouter(routes, ""), Logger: slog.New(slog.DiscardHandler)}))
	return g
}

func (g *zooGateway) close() {
	g.client.CloseIdleConnections()
	g.server.Close()
	g.cache.Close()
	for _, c := range g.clients {
		c.Close()
	}
	if err := g.store.Close(); err != nil {
		g.t.Error(err)
	}
	if err := os.RemoveAll(g.dir); err != nil {
		g.t.Error(err)
	}
}

// said is what the gateway answers: what of it has to be the same each time.
type said struct {
	status             int
	digest, link, body string
}

// right reports whether it is an answer with that digest and, to a GET, that body.
func (a said) right(method, digest, body string) bool {
	return a.status == http.StatusOK && a.digest == digest && (method == http.MethodHead || a.body == body)
}

// ask sends a request for something below a repository. A path that begins with a
// slash is taken as it is.
func (g *zooGateway) ask(method string, e *enclosure, path string) said {
	if !strings.HasPrefix(path, "/") {
		path = "/v2/proxy-" + e.name + "/" + path
	}
	r, err := http.NewRequestWithContext(g.t.Context(), method, g.server.URL+path, http.NoBody)
	if err != nil {
		return said{body: err.Error()}
	}
	r.Header.Set("Accept", strings.Join([]string{
		"application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
		oci.MediaTypeDockerManifestList, oci.MediaTypeDockerManifest,
	}, ", "))
	resp, err := g.client.Do(r)
	if err != nil {
		return said{body: err.Error()}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return said{body: "cut: " + err.Error()}
	}
	return said{resp.StatusCode, resp.Header.Get("Docker-Content-Digest"), resp.Header.Get("Link"), string(body)}
}
