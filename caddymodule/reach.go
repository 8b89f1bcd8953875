package caddymodule

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/endpoint"
	"github.com/pullgate/pullgate/internal/operate"
)

// prober returns what probes the upstream of a name, by the client of a key.
func (s *service) prober(name, key string) func(context.Context) ([]operate.Reach, error) {
	return func(ctx context.Context) ([]operate.Reach, error) {
		open, err := s.enterOpen()
		if err != nil {
			return nil, err
		}
		defer s.leave()
		var found []operate.Reach
		at := slices.IndexFunc(open.clients, func(c *client) bool { return c.key == key })
		for _, p := range open.clients[at].Probe(ctx) {
			found = append(found, operate.Reach{
				UpstreamStatus: upstreamStatus(name, p.State), Took: p.Took, Ahead: p.Clock, Login: p.Login, Identified: p.Identified,
			})
		}
		return found, nil
	}
}

// mostEndpoints bounds those of one site that are probed: it may have hundreds of names.
const mostEndpoints = 8

// endpoints returns where clients find the service, as far as that can be told.
func (s *service) endpoints() (found []operate.Endpoint) {
	if s.server == nil {
		return nil
	}
	hosts, _ := s.hosts(s.server.Routes)
	httpPort := s.app.httpPort()
	for _, listen := range s.server.Listen {
		parsed, err := caddy.ParseNetworkAddress(listen)
		if err != nil || parsed.StartPort == 0 && !parsed.IsUnixNetwork() || strings.HasPrefix(parsed.Network, "fd") {
			continue
		}
		for _, at := range parsed.Expand() {
			secure := len(s.server.TLSConnPolicies) > 0 && int(at.StartPort) != httpPort
			for _, host := range hosts {
				to, ok := reachable(at, host)
				e := operate.Endpoint{URL: urlOf(secure, host, at), Network: to.Network, Address: to.JoinHostPort(0)}
				if ok && !slices.Contains(found, e) && len(found) < mostEndpoints {
					found = append(found, e)
				}
			}
		}
	}
	return found
}

// reachable returns where to connect to for a host, if this machine can: certificates of
// addresses are found by the address that a connection is to.
func reachable(at caddy.NetworkAddress, host string) (to caddy.NetworkAddress, ok bool) {
	if at.IsUnixNetwork() {
		at.Host, _, _ = strings.Cut(at.Host, "|") // what follows is its mode
		return at, true
	}
	address, err := netip.ParseAddr(host)
	if err != nil || at.Host == host {
		return at, true
	}
	if listens, err := netip.ParseAddr(at.Host); at.Host != "" && (err != nil || !listens.IsUnspecified()) {
		return at, false
	}
	own, err := net.InterfaceAddrs()
	at.Host = host
	return at, err == nil && slices.ContainsFunc(own, func(a net.Addr) bool {
		prefix, err := netip.ParsePrefix(a.String())
		return err == nil && prefix.Addr() == address
	})
}

// urlOf returns the URL of a host at an address; "" = any host.
func urlOf(secure bool, host string, at caddy.NetworkAddress) string {
	port := int(at.StartPort)
	if at.IsUnixNetwork() {
		at.Host, port = "", caddyhttp.DefaultHTTPPort
	}
	if host = cmp.Or(host, at.Host); host == "" || host == "0.0.0.0" || host == "::" {
		host = "127.0.0.1"
	}
	return endpoint.URL(secure, host, port)
}

// hosts returns those for which routes lead to the service; "" = any.
func (s *service) hosts(routes caddyhttp.RouteList) (hosts []string, found bool) {
	for _, route := range routes {
		inside, leads := []string{}, false
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				leads = leads || h.run != nil && h.run.service == s
			case *caddyhttp.Subroute:
				within, ok := s.hosts(h.Routes)
				inside, leads = append(inside, within...), leads || ok
			}
		}
		if !leads {
			continue
		}
		found = true
		if own := hostsOf(route); len(own) > 0 {
			inside = own
		}
		hosts = append(hosts, inside...)
	}
	if found && len(hosts) == 0 {
		hosts = []string{""}
	}
	return hosts, found
}

// hostsOf returns the hosts that a route is for. Patterns stand for no host in particular.
func hostsOf(route caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *m...)
			}
		}
	}
	return slices.DeleteFunc(hosts, func(host string) bool { return strings.ContainsAny(host, "*{") })
}

// httpPort is the one that is without TLS.
func (r *appRun) httpPort() int {
	if value, err := r.ctx.AppIfConfigured("http"); err == nil {
		if http, ok := value.(*caddyhttp.App); ok && http.HTTPPort > 0 {
			return http.HTTPPort
		}
	}
	return caddyhttp.DefaultHTTPPort
}
