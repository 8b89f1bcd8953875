//go:build integration

package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// access is how a gateway is reached.
type access struct {
	name string
	tls  bool
	auth bool
}

var (
	plain  = access{name: "plain"}
	secure = access{name: "tls with basic auth", tls: true, auth: true}
	// tlsOnly is for Docker, which cannot log in to a mirror.
	tlsOnly = access{name: "tls", tls: true}
)

// gateway is a running pullgate with the upstream docker.io, also as default.
type gateway struct {
	access
	*process
	host             string // host:port
	ca               string // file of the authority that signed its certificate; "" without TLS
	username, secret string // "" without auth

	config string // the Caddyfile
	// admin and store are the address of its admin API and its storage; empty if
	// there is no API.
	admin, store string
}

// startGateway starts a gateway with an empty cache.
func startGateway(t *testing.T, a access, u upstream) *gateway {
	t.Helper()
	return startGatewayOn(t, a, u, "127.0.0.1")
}

func startGatewayOn(t *testing.T, a access, u upstream, address string) *gateway {
	t.Helper()
	dir := t.TempDir()
	g := &gateway{access: a, host: net.JoinHostPort(address, freePort(t)), config: filepath.Join(dir, "Caddyfile")}
	scheme, site := "http", ""
	if a.tls {
		authority := newAuthority(t, dir, address)
		scheme, site, g.ca = "https", fmt.Sprintf("\ttls %s %s\n", authority.certificate, authority.key), authority.ca
	}
	if a.auth {
		g.username, g.secret = "node", "pull-secret"
		hash, err := bcrypt.GenerateFromPassword([]byte(g.secret), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		site += fmt.Sprintf("\tbasic_auth {\n\t\t%s %s\n\t}\n", g.username, hash)
	}
	writeFile(t, fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https disable_redirects
	registry_mirror {
		storage %s
	}
}

%s://%s {
	bind %s
%s	registry_mirror {
		default docker.io
		upstream docker.io {
			%s
		}
	}
}
`, filepath.Join(dir, "cache"), scheme, g.host, address, site, u.caddyfile()), g.config)
	g.run(t)
	return g
}

// run starts the gateway's process, over the cache that is there.
func (g *gateway) run(t *testing.T) {
	t.Helper()
	home := "XDG_DATA_HOME=" + filepath.Dir(g.config)
	g.process = start(t, []string{home}, binary, "run", "--config", g.config)
	g.await(t, answers(insecureClient(), g.url()+"/v2/"))
}

// insecureClient believes any certificate.
func insecureClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       dialNamed,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
	}}
}

// dialNamed leads gatewayName to where nodes reach it.
func dialNamed(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && host == gatewayName {
		address = net.JoinHostPort("::1", port)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// restart ends the gateway and starts it again over the same cache.
func (g *gateway) restart(t *testing.T) {
	t.Helper()
	g.stop()
	g.run(t)
}

func (g *gateway) url() string {
	if g.tls {
		return "https://" + g.host
	}
	return "http://" + g.host
}
