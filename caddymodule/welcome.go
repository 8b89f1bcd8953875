package caddymodule

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/dashboard"
	"github.com/pullgate/pullgate/internal/operate"
)

// leaveTo leaves a request to the next handler. Where nobody answers it, a browser at the
// root gets a page in place of nothing.
func (h *Handler) leaveTo(next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) error {
	err := next.ServeHTTP(w, r)
	if err != nil || !dashboard.IsBrowser(r) || caddyhttp.GetVar(r.Context(), "unhandled") != true {
		return err
	}
	page := dashboard.Welcome{Version: version(), Endpoint: "http://" + r.Host}
	if r.TLS != nil {
		page.Endpoint = "https://" + r.Host
	}
	who := user(r)
	for _, u := range h.Upstreams {
		if u.Admits(who) {
			page.Upstreams = append(page.Upstreams, u.Name)
		}
	}
	page.ServeHTTP(w, r)
	return nil
}

// endpoints returns what clients reach the handlers of the configuration by.
func (r *appRun) endpoints() (all []operate.Endpoint) {
	r.mu.Lock()
	servers := slices.Clone(r.servers)
	r.mu.Unlock()
	for _, server := range servers {
		scheme, usual := "http", "80"
		if len(server.TLSConnPolicies) > 0 {
			scheme, usual = "https", "443"
		}
		hosts, mirrors := hostsOf(server.Routes)
		if !mirrors {
			continue
		}
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for _, text := range server.Listen {
			address, err := caddy.ParseNetworkAddress(text)
			if err != nil || address.IsUnixNetwork() || address.StartPort == 0 {
				continue
			}
			for _, host := range hosts {
				e := operate.Endpoint{Scheme: scheme, Host: host, Port: strconv.FormatUint(uint64(address.StartPort), 10)}
				if e.Port == usual {
					e.Port = ""
				}
				if !slices.Contains(all, e) {
					all = append(all, e)
				}
			}
		}
	}
	return all
}

// hostsOf returns the hosts whose requests get to a Handler in these routes, none if all
// do, and whether there is one.
func hostsOf(routes caddyhttp.RouteList) (hosts []string, mirrors bool) {
	for _, route := range routes {
		within, found := []string(nil), false
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				found = true
			case *caddyhttp.Subroute:
				inner, ok := hostsOf(h.Routes)
				within, found = append(within, inner...), found || ok
			}
		}
		if !found {
			continue
		}
		mirrors = true
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				if named, ok := matcher.(*caddyhttp.MatchHost); ok {
					within = append(within, *named...)
				}
			}
		}
		hosts = append(hosts, within...)
	}
	return hosts, mirrors
}
