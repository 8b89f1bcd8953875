package caddymodule

import (
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Health{})
	httpcaddyfile.RegisterHandlerDirective("registry_mirror_health", parseHealth)
	// Probes have no password.
	httpcaddyfile.RegisterDirectiveOrder("registry_mirror_health", httpcaddyfile.Before, "basic_auth")
}

// Health answers probes, such as those of Kubernetes and of container engines: with 200,
// or with 503 and a reason. It tells nothing that is not for everybody, and its answers
// stand in no access log. Requests for anything else go to the next handler.
type Health struct {
	// The path that says whether the process serves at all: if it does not, a restart
	// may help. Default: /healthz.
	Live string `json:"live,omitempty"`

	// The path that says whether pulls are answered: the storage is open. Where its
	// index cannot be opened, they pass through, and the answer is still 200. Default:
	// /readyz.
	Ready string `json:"ready,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Health) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_mirror_health",
		New: func() caddy.Module { return new(Health) },
	}
}

// Provision sets the defaults.
func (h *Health) Provision(caddy.Context) error {
	if h.Live == "" {
		h.Live = "/healthz"
	}
	if h.Ready == "" {
		h.Ready = "/readyz"
	}
	return nil
}

// Validate checks the paths.
func (h *Health) Validate() error {
	for _, path := range []string{h.Live, h.Ready} {
		if path[0] != '/' {
			return fmt.Errorf("registry_mirror_health: %s is no path: begin it with a slash", path)
		}
	}
	if h.Live == h.Ready {
		return fmt.Errorf("registry_mirror_health: %s cannot tell both: give live and ready a path each", h.Live)
	}
	return nil
}

// ServeHTTP answers probes.
func (h *Health) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return next.ServeHTTP(w, r)
	}
	well, text := true, "ok"
	switch r.URL.Path {
	case h.Live:
	case h.Ready:
		well, text = ready()
	default:
		return next.ServeHTTP(w, r)
	}
	caddyhttp.SetVar(r.Context(), caddyhttp.LogSkipVar, true)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if !well {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, text+"\n")
	}
	return nil
}

// ready reports whether pulls are answered, and how.
func ready() (well bool, text string) {
	if caddy.Exiting() {
		return false, "the server is exiting"
	}
	open := openCaches()
	if len(open) == 0 {
		return false, "no storage is open"
	}
	for _, c := range open {
		if !c.Usage().IndexOpen {
			return true, "ok, passing through: an index is not open"
		}
	}
	return true, "ok"
}

func parseHealth(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Health)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return handler, err
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax:
//
//	registry_mirror_health {
//		live  <path>
//		ready <path>
//	}
func (h *Health) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var path *string
		switch d.Val() {
		case "live":
			path = &h.Live
		case "ready":
			path = &h.Ready
		default:
			return d.Errf("unrecognized subdirective '%s': want live or ready", d.Val())
		}
		if !d.AllArgs(path) {
			return d.ArgErr()
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Health)(nil)
	_ caddy.Validator             = (*Health)(nil)
	_ caddyfile.Unmarshaler       = (*Health)(nil)
	_ caddyhttp.MiddlewareHandler = (*Health)(nil)
)
