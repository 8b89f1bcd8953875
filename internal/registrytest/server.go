package registrytest

import (
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Auth is how the registry authenticates.
type Auth int

// The kinds of authentication.
const (
	AuthNone   Auth = iota
	AuthBasic       // every request needs Username and Password
	AuthBearer      // every request needs a token from the token server
)

// Options make a Server. The zero value is an open registry on plain HTTP that
// sends blobs itself and knows the referrers API.
type Options struct {
	Auth Auth
	// Username and Password are required by AuthBasic, and by the token server
	// of AuthBearer if they are set; else it gives tokens to anybody. Of a Profile they
	// are the constants of those names.
	Username, Password string
	// TokenLifetime is sent as expires_in and enforced; default 300 s.
	TokenLifetime time.Duration
	// CDN redirects (307) GETs of blobs that exist to a second server on another
	// address.
	CDN bool
	// TLS serves all hosts over TLS; see Hosts.CertPool.
	TLS bool
	// HTTP2 lets clients speak HTTP/2 over TLS.
	HTTP2 bool
	// Certificate takes the place of the usual one, which is good.
	Certificate *tls.Certificate
	// NoReferrers answers the referrers API with 404, as older registries do.
	NoReferrers bool
	// Profile answers as a real registry does. Username, Password, Auth, CDN,
	// TokenLifetime and NoReferrers have no meaning then.
	Profile *Profile
	// Network is where all hosts are; nil = that of this machine.
	Network *Network
}

// Server is one fake upstream. All methods are safe for concurrent use.
type Server struct {
	*Content
	*Counts
	*Faults
	*Hosts

	o       Options
	profile *Profile
	grants  *grants
	links   *links
}

// New starts a Server that is closed at the end of the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !s.closeWithin(closeTime) {
			t.Errorf("registrytest: a handler has not returned %v after the end of the test: what it waits for has to end with that, see Hold", closeTime)
		}
	})
	return s
}

// Listen starts a Server on addr without a test around it. The caller closes it.
func Listen(addr string, o Options) (*Server, error) {
	s := &Server{
		Content: &Content{repositories: map[string]*repository{}}, Counts: &Counts{}, Faults: &Faults{}, Hosts: &Hosts{},
		o: o, profile: o.Profile, grants: &grants{tokens: map[string]grant{}}, links: &links{to: map[string]link{}},
	}
	if o.Profile == nil {
		s.profile = simple(o)
	} else {
		s.o.Username, s.o.Password = Username, Password
	}
	var registry net.Listener
	if o.Network == nil {
		var err error
		if registry, err = net.Listen("tcp", addr); err != nil {
			return nil, err
		}
	}
	s.start(o, registry, s.serve)
	return s, nil
}

// simple is the profile that Options without one ask for.
func simple(o Options) *Profile {
	p := &Profile{Tags: TagList{Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`}}
	switch o.Auth {
	case AuthBasic:
		p.Auth = Authority{Basic: true, Pull: unauthorized(`Basic realm="registrytest"`)}
	case AuthBearer:
		tokens := Tokens{Host: HostToken, Path: "/token", Answer: `{"token":"{value}","expires_in":{life}}`, Life: o.TokenLifetime}
		if tokens.Life == 0 {
			tokens.Life = 300 * time.Second
		}
		if o.Username != "" {
			tokens.Refused, tokens.NoScope = unauthorized(), unauthorized()
		}
		p.Auth = bearer(`Bearer realm="{token}/token",service="registrytest"`, tokens)
		p.Auth.AccountOnly = o.Username != ""
		p.Auth.Stale, p.Auth.Denied = Reply{}, p.Auth.Pull
	}
	if o.CDN {
		p.Abroad, p.Inner = &Profile{First: []step{signed}}, "/v2/"
		p.Then = append(p.Then, toCDN)
	}
	if o.NoReferrers {
		p.Then = append(p.Then, noReferrers)
	}
	return p
}

const signature = "?signature=secret"

// toCDN redirects to the blob of the same path there.
func toCDN(v *visit, next func(*visit)) {
	if v.kind != "blobs" || v.r.Method != http.MethodGet || v.repo.blob(v.digest()) == nil {
		next(v)
		return
	}
	http.Redirect(v.w, v.r, v.server.cdn.URL+v.r.URL.Path+signature, http.StatusTemporaryRedirect)
}

// signed refuses what toCDN has not made.
func signed(v *visit, next func(*visit)) {
	if !strings.HasSuffix(v.r.URL.RequestURI(), signature) || v.r.Header.Get("Authorization") != "" {
		http.Error(v.w, "AccessDenied", http.StatusForbidden)
		return
	}
	next(v)
}

// Pause makes every host cut each connection without an answer until the
// returned function is called: the upstream is down, its address is kept.
func (s *Server) Pause() (resume func()) {
	previous := s.Hook(Abort)
	s.CutConnections()
	return func() { s.Hook(previous) }
}

// ExpireTokens makes every token issued so far invalid.
func (s *Server) ExpireTokens() { s.grants.clear() }

// serve answers a request at a host, and counts it.
func (s *Server) serve(host Host, w http.ResponseWriter, r *http.Request) {
	kind := s.kindOf(host, r)
	counter := s.begin(host, kind, w, r)
	answer := func(w http.ResponseWriter, r *http.Request) { s.answer(host, w, r) }
	if hook := s.hookFor(host, kind, r); hook != nil {
		hook(counter, r, answer)
		return
	}
	answer(counter, r)
}

// answer answers as the profile does. The host of tokens has nothing else.
func (s *Server) answer(host Host, w http.ResponseWriter, r *http.Request) {
	v := s.visit(host, w, r)
	switch {
	case v.follow():
	case v.profile == nil:
		http.Error(w, "AccessDenied", http.StatusForbidden)
	case host == HostToken && !v.profile.Auth.Tokens.at(host, r.URL.Path):
		v.reply(unauthorized())
	case v.kind == "token":
		v.profile.Auth.Tokens.serve(v)
	default:
		v.profile.run(v)
	}
}

func (s *Server) visit(host Host, w http.ResponseWriter, r *http.Request) *visit {
	v := &visit{server: s, profile: s.profile, w: w, r: r, kind: s.kindOf(host, r)}
	path := r.URL.Path
	if host == HostCDN {
		v.profile = s.profile.Abroad
		path = strings.Replace(path, s.profile.Inner, "/v2/", 1)
	}
	v.name, v.reference = split(path)
	if v.profile != nil {
		v.repo = v.find(v.name)
		v.identify()
	}
	return v
}

// split takes a path below /v2/ apart: the last two components say what is asked
// for, whatever a repository is called.
func split(path string) (name, reference string) {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	if n := len(parts) - 2; n > 0 {
		return strings.Join(parts[:n], "/"), parts[n+1]
	}
	return "", ""
}

// kindOf returns the Kind of a request.
func (s *Server) kindOf(host Host, r *http.Request) string {
	path, abroad := r.URL.Path, s.profile.Abroad
	if l, ok := s.links.get(r); ok {
		return l.kind
	}
	switch {
	case host == HostToken, s.profile.Auth.Tokens.at(host, path), abroad != nil && abroad.Auth.Tokens.at(host, path):
		return "token"
	case path == "/v2/" || path == "/v2":
		return "ping"
	case strings.HasSuffix(path, "/tags/list"):
		return "tags"
	}
	for _, kind := range []string{"manifests", "blobs", "referrers"} {
		if strings.Contains(path, "/"+kind+"/") {
			return kind
		}
	}
	return ""
}
