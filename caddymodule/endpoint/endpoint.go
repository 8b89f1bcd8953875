// Package endpoint finds the addresses at which a configuration of Caddy serves registry
// mirrors.
package endpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Endpoint is an address at which a configuration serves registry mirrors, as
// clients would spell it.
type Endpoint struct {
	// URL is a scheme, a host and perhaps a port; empty = no host is named.
	URL string
	// Loopback says that the host means this machine only.
	Loopback bool
	// Upstreams are those that are served there.
	Upstreams []Upstream
	// Login says that users have to log in there, for some requests at least.
	Login bool
	// Authority is the ID of Caddy's own authority that signs the certificate;
	// empty = another one, or none.
	Authority string
}

// siteConfig is what of a configuration tells the endpoints. Matchers and
// handlers of other kinds are left out.
type siteConfig struct {
	Apps struct {
		HTTP struct {
			HTTPPort  int `json:"http_port"`
			HTTPSPort int `json:"https_port"`
			Servers   map[string]struct {
				Listen   []string          `json:"listen"`
				Routes   []siteRoute       `json:"routes"`
				Policies []json.RawMessage `json:"tls_connection_policies"`
				AutoHTTP struct {
					Disabled bool     `json:"disable"`
					Skip     []string `json:"skip"`
				} `json:"automatic_https"`
			} `json:"servers"`
		} `json:"http"`
		TLS struct {
			Automation struct {
				Policies []struct {
					Subjects []string `json:"subjects"`
					Issuers  []struct {
						Module string `json:"module"`
						CA     string `json:"ca"`
					} `json:"issuers"`
				} `json:"policies"`
			} `json:"automation"`
		} `json:"tls"`
	} `json:"apps"`
}

type siteRoute struct {
	Match []struct {
		Host []string `json:"host"`
	} `json:"match"`
	Handle []struct {
		Handler   string      `json:"handler"`
		Routes    []siteRoute `json:"routes"`
		Upstreams []Upstream  `json:"upstreams"`
	} `json:"handle"`
}

// Upstream is one that is served.
type Upstream struct {
	Name  string   `json:"name"`
	Alias []string `json:"alias"`
}

// Names returns all that clients may call it by.
func (u Upstream) Names() []string { return slices.Concat([]string{u.Name}, u.Alias) }

// Of reads a configuration in JSON. A site that names no host is at no
// address that could be told.
func Of(config []byte) ([]Endpoint, error) {
	var c siteConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	http := c.Apps.HTTP
	httpPort, httpsPort := orDefault(http.HTTPPort, caddyhttp.DefaultHTTPPort), orDefault(http.HTTPSPort, caddyhttp.DefaultHTTPSPort)
	var found []Endpoint
	for _, server := range http.Servers {
		for _, route := range server.Routes {
			upstreams := route.upstreams()
			if len(upstreams) == 0 {
				continue
			}
			for _, host := range route.hosts() {
				for _, listen := range server.Listen {
					address, err := caddy.ParseNetworkAddress(listen)
					if err != nil || address.IsUnixNetwork() {
						continue
					}
					name, port := host, int(address.StartPort)
					if name == "" {
						name = address.Host
					}
					secure := len(server.Policies) > 0 || port == httpsPort ||
						host != "" && port != httpPort && !server.AutoHTTP.Disabled && !slices.Contains(server.AutoHTTP.Skip, host)
					e := Endpoint{Upstreams: upstreams, Loopback: loopback(name), Login: route.login()}
					if name != "" {
						e.URL = URL(secure, name, port)
					}
					if secure {
						e.Authority = c.authority(host)
					}
					found = append(found, e)
				}
			}
		}
	}
	return found, nil
}

func orDefault(n, fallback int) int {
	if n == 0 {
		return fallback
	}
	return n
}

// hosts returns those that a route is for; one that is empty if it is for all.
func (r siteRoute) hosts() (hosts []string) {
	for _, set := range r.Match {
		hosts = append(hosts, set.Host...)
	}
	if len(hosts) == 0 {
		return []string{""}
	}
	return hosts
}

// upstreams returns those of the handlers of a route, and of what it leads to.
func (r siteRoute) upstreams() (found []Upstream) {
	for _, h := range r.Handle {
		if h.Handler == "registry_mirror" {
			found = append(found, h.Upstreams...)
		}
		for _, inner := range h.Routes {
			found = append(found, inner.upstreams()...)
		}
	}
	return found
}

// login reports whether a route, or what it leads to, asks for users.
func (r siteRoute) login() bool {
	for _, h := range r.Handle {
		if h.Handler == "authentication" || slices.ContainsFunc(h.Routes, siteRoute.login) {
			return true
		}
	}
	return false
}

// authority returns the ID of Caddy's own authority that is configured for a
// host; empty = none.
func (c *siteConfig) authority(host string) string {
	for _, policy := range c.Apps.TLS.Automation.Policies {
		if len(policy.Subjects) > 0 && !slices.Contains(policy.Subjects, host) {
			continue
		}
		for _, issuer := range policy.Issuers {
			if issuer.Module == "internal" {
				if issuer.CA == "" {
					return "local"
				}
				return issuer.CA
			}
		}
		return ""
	}
	return ""
}

// URL returns the URL of a host and a port.
func URL(secure bool, host string, port int) string {
	scheme, usual := "http", caddyhttp.DefaultHTTPPort
	if secure {
		scheme, usual = "https", caddyhttp.DefaultHTTPSPort
	}
	if port == usual {
		if address, err := netip.ParseAddr(host); err == nil && address.Is6() {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// loopback reports whether only this machine reaches a host.
func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (address.IsLoopback() || address.IsUnspecified())
}

// Choose picks the endpoint that clients are to use: the one at the URL, or the
// only one that other machines can reach. A site without a host may be at any URL
// that no other has. All upstreams of that address count; there may be none if
// the caller has named its own.
func Choose(endpoints []Endpoint, at *url.URL, named bool) (chosen Endpoint, err error) {
	var urls []string
	wanted := ""
	if at != nil {
		wanted = siteURL(at)
		if !slices.ContainsFunc(endpoints, func(e Endpoint) bool { return e.URL == wanted }) {
			wanted = ""
		}
	}
	for _, e := range endpoints {
		if at == nil && (e.URL == "" || e.Loopback) || at != nil && e.URL != wanted {
			continue
		}
		if e.URL != "" && !slices.Contains(urls, e.URL) {
			urls = append(urls, e.URL)
		}
		if chosen.URL == "" {
			chosen.URL, chosen.Authority = e.URL, e.Authority
		}
		chosen.Login = chosen.Login || e.Login
		for _, u := range e.Upstreams {
			if !slices.ContainsFunc(chosen.Upstreams, func(other Upstream) bool { return other.Name == u.Name }) {
				chosen.Upstreams = append(chosen.Upstreams, u)
			}
		}
	}
	switch {
	case len(endpoints) == 0:
		return Endpoint{}, errors.New("mirrors no registries")
	case at == nil && len(urls) == 0:
		return Endpoint{}, errors.New("names no host that other machines could reach it by: give --endpoint")
	case at == nil && len(urls) > 1:
		return Endpoint{}, fmt.Errorf("serves at several addresses, give one of them as --endpoint: %s", strings.Join(urls, ", "))
	case len(chosen.Upstreams) == 0 && !named:
		return Endpoint{}, fmt.Errorf("does not serve at %s, as far as its configuration tells: name the upstreams", at)
	}
	return chosen, nil
}

// siteURL returns a URL as endpoints have it.
func siteURL(u *url.URL) string {
	usual := map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	return u.Scheme + "://" + strings.TrimSuffix(strings.ToLower(u.Host), usual)
}
