package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/storage"
)

// page is a dashboard of a gateway with a real store, whose upstreams admit who they say.
type page struct {
	*Dashboard
	t        testing.TB
	store    *storage.Store
	gateway  *operate.Local
	upstream map[string][]string // the users that each admits; nil = everybody
}

// newPage returns a dashboard over an empty store. The header User says who asks.
func newPage(t testing.TB, upstreams map[string][]string) *page {
	t.Helper()
	store, err := storage.Open(t.Context(), storage.Options{Path: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	p := &page{t: t, store: store, upstream: upstreams}
	open := &operate.Store{Store: store, Path: "/cache"}
	p.gateway = &operate.Local{
		Stores:    func() []*operate.Store { return []*operate.Store{open} },
		Sites:     func(string) (*operate.Store, operate.Sites) { return open, p.sites() },
		Server:    func() operate.Server { return operate.Server{Version: "v1.2.3", Listen: []string{":5000"}} },
		Upstreams: p.statuses,
		Traffic:   p.traffic,
		Tracked:   func(operate.PullsRequest) operate.Pulls { return p.pulls() },
	}
	d := New(Options{Gateway: p.gateway, User: func(r *http.Request) string { return r.Header.Get("User") }})
	p.Dashboard = &d
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	p.start(ctx)
	return p
}

func (p *page) sites() operate.Sites {
	site := &operate.Site{Names: map[string]string{}, Endpoints: func() []operate.Endpoint {
		return []operate.Endpoint{{URL: "http://127.0.0.1:5000", Network: "tcp", Address: ":5000"}}
	}}
	for name, users := range p.upstream {
		site.Names[name] = name
		site.Upstreams = append(site.Upstreams, &operate.Upstream{
			Name: name, Identity: name, Settings: []operate.Setting{{Name: "url", Value: "https://" + name}},
			Admits: func(user string) bool { return users == nil || slices.Contains(users, user) },
		})
	}
	return operate.Sites{site}
}

func (p *page) statuses() (all []operate.UpstreamStatus) {
	for name := range p.upstream {
		all = append(all, operate.UpstreamStatus{Name: name, URL: "https://" + name, State: "certificate", Error: name + " has none", Help: "get one"})
	}
	slices.SortFunc(all, func(a, b operate.UpstreamStatus) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (p *page) traffic() (all []operate.Traffic) {
	for name := range p.upstream {
		all = append(all, operate.Traffic{Name: name, Requests: 7, Hits: 5, Sent: 100})
	}
	return all
}

func (p *page) pulls() (pulls operate.Pulls) {
	for _, u := range p.statuses() {
		subject := operate.PullSubject{Image: u.Name + "/library/secret:1", Upstream: u.Name, Client: "10.0.0.7"}
		pulls.Running = append(pulls.Running, operate.Pull{PullSubject: subject})
		pulls.Recent = append(pulls.Recent, operate.Pull{PullSubject: subject})
	}
	pulls.Clients = []operate.PullClient{{Client: "10.0.0.7", Pulls: 2}}
	return pulls
}

// put stores an image: a manifest without layers, by a tag.
func (p *page) put(upstream, repository, tag string) {
	p.t.Helper()
	scope := oci.Scope{Upstream: upstream, Repository: repository}
	raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","annotations":{"of":%q},"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},"layers":[]}`,
		scope.String()+tag, oci.Sum([]byte("{}")))
	m := oci.Manifest{Digest: oci.Sum(raw), MediaType: "application/vnd.oci.image.manifest.v1+json", Bytes: raw}
	if err := p.store.PutManifest(p.t.Context(), scope, m, nil); err != nil {
		p.t.Fatal(err)
	}
	if err := p.store.PutTag(p.t.Context(), scope, tag, storage.Tag{Digest: m.Digest, MediaType: m.MediaType, Size: int64(len(raw)), Checked: time.Now(), Changed: time.Now()}); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a request and returns the answer, and whether the next handler got it.
func (p *page) ask(method, target string, header ...string) (answer *httptest.ResponseRecorder, passed bool) {
	p.t.Helper()
	r := httptest.NewRequestWithContext(p.t.Context(), method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer = httptest.NewRecorder()
	err := p.ServeHTTP(answer, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		passed = true
		return nil
	}))
	if err != nil {
		p.t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer, passed
}

// get returns what a request is answered with, as JSON.
func get[T any](p *page, target string, header ...string) (value T) {
	p.t.Helper()
	answer, passed := p.ask(http.MethodGet, target, header...)
	if passed || answer.Code != http.StatusOK {
		p.t.Fatalf("%s: %d %s, passed on: %v", target, answer.Code, answer.Body, passed)
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &value); err != nil {
		p.t.Fatalf("%s: %v in %s", target, err, answer.Body)
	}
	return value
}
