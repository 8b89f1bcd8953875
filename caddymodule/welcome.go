package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/dashboard"
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
		if u.Access.Admits(who, u.Guarded()) {
			page.Upstreams = append(page.Upstreams, u.Name)
		}
	}
	page.ServeHTTP(w, r)
	return nil
}
