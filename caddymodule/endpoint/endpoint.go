package command

import (
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// endpoint is an address at which a configuration serves registry mirrors, as
// clients would spell it.
type endpoint struct {
	// url is a scheme, a host and perhaps a port.
	url string
	// loopback says that the host means this machine only.
	loopback bool
	// upstreams are those that are served there.
	upstreams []siteUpstream
	// login says that users have to log in there, for some requests at least.
	login bool
	// authority is the ID of Caddy's own authority that signs the certificate;
	// empty = another one, or none.
	authority string
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
		Handler   string         `json:"handler"`
		Routes    []siteRoute    `json:"routes"`
		Upstreams []siteUpstream `json:"upstreams"`
	} `json:"handle"`
}

type siteUpstream struct {
	Name  string   `json:"name"`
	Alias []string `json:"alias"`
}

// names returns all that clients may call it by.
func (u siteUpstream) names() []string { return slices.Concat([]string{u.Name}, u.Alias) }

// endpointsOf reads a configuration in JSON. A site that names no host is at no
// address that could be told.
func endpointsOf(config []byte) ([]endpoint, error) {
	var c siteConfig
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, err
	}
	http := c.Apps.HTTP
	httpPort, httpsPort := orDefault(http.HTTPPort, caddyhttp.DefaultHTTPPort), orDefault(http.HTTPSPort, caddyhttp.DefaultHTTPSPort)
	var found []endpoint
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
					e := endpoint{upstreams: upstreams, loopback: loopback(name), login: route.login()}
					if name != "" {
						e.url = endpointURL(secure, name, port)
					}
					if secure {
						e.authority = c.authority(host)
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
func (r siteRoute) upstreams() (found []siteUpstream) {
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

func endpointURL(secure bool, host string, port int) string {
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
