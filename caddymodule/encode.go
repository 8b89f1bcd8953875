package caddymodule

import (
	"log/slog"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// warnOfEncode warns of servers that compress what a handler answers.
func warnOfEncode(servers []*caddyhttp.Server, log *slog.Logger) {
	for _, server := range servers {
		if encodes, _ := encodesMirror(server.Routes, false); encodes {
			log.Warn("encode stands around registry_mirror: layers are compressed already, and go out more slowly; "+
				"take it away, or give it a matcher that leaves out /v2, such as: @pages not path /v2/* /proxy-*",
				"listen", server.Listen)
		}
	}
}

// encodesMirror reports whether the answers of a handler in these routes go through an
// encoder; before says that all do. after says that what follows does, too. An encoder
// with a matcher of its own is taken to know what it does.
func encodesMirror(routes caddyhttp.RouteList, before bool) (found, after bool) {
	for _, route := range routes {
		inside := before
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *Handler:
				found = found || inside
			case *caddyhttp.Subroute:
				var within bool
				within, inside = encodesMirror(h.Routes, inside)
				found = found || within
			case caddy.Module:
				inside = inside || h.CaddyModule().ID == "http.handlers.encode"
			}
		}
		// Of routes that exclude each other, none goes through the other.
		if len(route.MatcherSets) == 0 && route.Group == "" && !route.Terminal {
			before = inside
		}
	}
	return found, before
}

// addServer notes the server that a handler belongs to; nil = none.
func (r *appRun) addServer(server *caddyhttp.Server) {
	if r.mu.Lock(); server != nil && !slices.Contains(r.servers, server) {
		r.servers = append(r.servers, server)
	}
	r.mu.Unlock()
}
