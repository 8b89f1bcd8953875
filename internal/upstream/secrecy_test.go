package upstream

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

// TestNoSecretLeaves has a registry lure its client to other origins in every way
// there is. None of them is configured, so none may see a password, a token, a
// cookie or the client's certificate. Nothing is stopped by its address here.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	const loopback, second = "127.0.0.1", "127.0.0.2"
	for _, scheme := range []string{"http", "https"} {
		opposite := map[string]string{"http": "https", "https": "http"}[scheme]
		origins := map[string]place{
			"a registry":                {scheme, "hub.corp.test", loopback, ""},
			"another port":              {scheme, "hub.corp.test", loopback, ""},
			"the parent domain":         {scheme, "corp.test", second, "a registry"},
			"a sub-domain":              {scheme, "cdn.hub.corp.test", loopback, ""},
			"a sibling":                 {scheme, "cdn.corp.test", loopback, ""},
			"a longer name":             {scheme, "hub.corp.test.evil.test", loopback, ""},
			"a similar name":            {scheme, "hub-corp.test", loopback, ""},
			"the address of it":         {scheme, loopback, loopback, ""},
			"another address":           {scheme, second, second, ""},
			"the other scheme":          {opposite, "hub.corp.test", loopback, ""},
			"the other scheme and host": {opposite, "other.test", loopback, ""},
		}
		t.Run(scheme, func(t *testing.T) {
			s := newStage(t, origins)
			s.addresses["hub.corp.test"] = []string{loopback}
			resolver := names(t, s.addresses)
			cases, reached, refused := 0, 0, 0
			for target := range origins {
				if target == "a registry" {
					continue
				}
				for _, l := range lures() {
					cases++
					others := s.tempt(t, l, target, func(o *Options) {
						o.seams.Resolver = resolver
						o.RootCAs = s.pool
						o.Certificates = []tls.Certificate{s.certificate}
					})
					if others > 0 {
						reached++
					} else {
						refused++
					}
				}
			}
			t.Logf("%d ways x origins from %s: %d reached the other origin without a secret, %d did not go there", cases, scheme, reached, refused)
			if cases < 300 || reached < cases/3 || refused < cases/5 {
				t.Errorf("%d cases, %d reached, %d refused: the test proves too little", cases, reached, refused)
			}
		})
	}
}

// tempt plays one case, and returns how many requests other origins saw.
func (s *stage) tempt(t *testing.T, l lure, target string, change func(*Options)) (others int) {
	t.Helper()
	third := "a sibling"
	if target == third {
		third = "a longer name"
	}
	at := func(w http.ResponseWriter, r *http.Request) act {
		return act{w, r, s.urls["a registry"], s.urls[target], s.urls[third]}
	}
	other := l.other
	if other == nil {
		other = elsewhereToken
	}
	s.begin(scene{
		registry: func(w http.ResponseWriter, r *http.Request) { l.registry(at(w, r)) },
		other:    func(w http.ResponseWriter, r *http.Request) { other(at(w, r)) },
	})
	c := newClient(t, s.urls["a registry"], change, func(o *Options) {
		o.Credentials = BasicCredentials("canary-user", "canary-password")
		if l.identity {
			o.Credentials = always(credentials.Login{IdentityToken: "canary-identity"})
		}
		o.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	ask := l.ask
	if ask == nil {
		ask = func(ctx context.Context, c *Client) error {
			_, err := c.Manifest(ctx, repo, tag("1"))
			return err
		}
	}
	err := ask(t.Context(), c)
	c.Close()
	if err != nil && strings.Contains(err.Error(), canary) {
		t.Errorf("%s, %s: the error holds a secret: %v", l.name, target, err)
	}
	asked := false
	for _, g := range s.glimpses() {
		if g.at == "a registry" {
			asked = true
			continue
		}
		others++
		if leaks := g.leaks(); len(leaks) > 0 {
			t.Errorf("%s: %s saw %q", l.name, g.at, leaks)
		}
		if strings.HasPrefix(s.urls["a registry"], "https:") && strings.HasPrefix(s.urls[g.at], "http:") {
			t.Errorf("%s: %s was asked without TLS", l.name, g.at)
		}
	}
	if !asked {
		t.Errorf("%s, %s: the registry was not asked: %v", l.name, target, err)
	}
	return others
}

// TestSecretsReachWhoMaySeeThem is the other half: a token server that is
// configured gets the password, and the certificate stays with the registry.
func TestSecretsReachWhoMaySeeThem(t *testing.T) {
	t.Parallel()
	s := newStage(t, map[string]place{
		"a registry": {"https", "hub.corp.test", "127.0.0.1", ""}, "token server": {"https", "auth.corp.test", "127.0.0.1", ""},
	})
	l := lures()[0]
	s.begin(scene{
		registry: func(w http.ResponseWriter, r *http.Request) { l.registry(act{w, r, "", s.urls["token server"], ""}) },
		other:    func(w http.ResponseWriter, r *http.Request) { elsewhereToken(act{w: w, r: r}) },
	})
	c := newClient(t, s.urls["a registry"], func(o *Options) {
		o.Credentials = BasicCredentials("canary-user", "canary-password")
		o.AuthOrigins = []string{s.urls["token server"]}
		o.RootCAs, o.Certificates, o.seams.Resolver = s.pool, []tls.Certificate{s.certificate}, names(t, s.addresses)
	})
	if _, err := c.Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
	for _, g := range s.glimpses() {
		leaks := g.leaks()
		if want := map[string]int{"a registry": 1, "token server": 1}[g.at]; len(leaks) != want {
			t.Errorf("%s saw %q, want %d", g.at, leaks, want)
		}
		if g.certificate != (g.at == "a registry") {
			t.Errorf("%s: certificate %v", g.at, g.certificate)
		}
	}
}
