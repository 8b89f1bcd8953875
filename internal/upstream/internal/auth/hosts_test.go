package auth

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

func TestWellKnownAuthOrigins(t *testing.T) {
	for registry, want := range map[string]string{
		"https://registry-1.docker.io":      "https://auth.docker.io:443",
		"https://registry.gitlab.com:443":   "https://gitlab.com:443",
		"http://registry-1.docker.io":       "://:",
		"https://registry-1.docker.io:8443": "://:",
		"https://registry-1.docker.io.evil": "://:",
		"https://ghcr.io":                   "://:",
	} {
		u, err := url.Parse(registry)
		if err != nil {
			t.Fatal(err)
		}
		if got := wellKnownAuthOrigin(egress.OriginOf(u)).String(); got != want {
			t.Errorf("%s: %s, want %s", registry, got, want)
		}
	}
}

func FuzzRealm(f *testing.F) {
	for _, seed := range []string{"https://auth.docker.io/token", "http://127.0.0.1", "https://u@registry.test", "//x", "%"} {
		f.Add(seed)
	}
	base := &url.URL{Scheme: "https", Host: "registry.test"}
	transports := egress.New(egress.Options{Now: time.Now})
	s := wire.NewSender(wire.NewClient(wire.Options{}, transports), base)
	r := New(s, Options{Base: base, Now: time.Now})
	f.Fuzz(func(t *testing.T, s string) {
		server, err := r.realm(s, base, netip.AddrPort{})
		if err != nil {
			return
		}
		realm, trusted := server.url, server.trusted
		if realm.Scheme != "https" || realm.User != nil || realm.Hostname() == "" {
			t.Errorf("%q is asked", s)
		}
		if trusted && (!strings.EqualFold(realm.Hostname(), "registry.test") || realm.Port() != "" && realm.Port() != "443") {
			t.Errorf("%q gets the password", s)
		}
	})
}
