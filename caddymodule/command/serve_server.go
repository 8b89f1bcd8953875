package command

import (
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// plainServer returns a server without TLS at an address.
func plainServer(address string, routes ...caddyhttp.Route) *caddyhttp.Server {
	return &caddyhttp.Server{
		Listen:            []string{address},
		ReadHeaderTimeout: caddy.Duration(10 * time.Second),
		IdleTimeout:       caddy.Duration(2 * time.Minute),
		Protocols:         []string{"h1"}, // Caddy warns of those that need TLS
		MaxHeaderBytes:    16 << 10,
		AutoHTTPS:         &caddyhttp.AutoHTTPSConfig{Disabled: true},
		Routes:            routes,
	}
}

// loopback is where the dashboard is unless its address names a host.
const loopback = "127.0.0.1"

// dashboardServer returns the server of the dashboard at an address. That of the loopback
// is the operator's. It answers to the names of this machine only: a page from elsewhere
// could lead a name of its own here.
func dashboardServer(address string) *caddyhttp.Server {
	host, port, err := net.SplitHostPort(address)
	page := caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSON(handler{Handler: "registry_mirror_dashboard", ShowAll: err == nil && host == ""}, nil)}}
	if err != nil || host != "" {
		return plainServer(address, page)
	}
	page.MatcherSetsRaw = caddyhttp.RawMatcherSets{{"host": caddyconfig.JSON([]string{"localhost", loopback}, nil)}}
	page.Terminal = true
	refusal := map[string]any{
		"handler": "static_response", "status_code": http.StatusMisdirectedRequest,
		"body": "The dashboard is at http://localhost:" + port + "/ of this machine only. Give --dashboard an address with a host to have it elsewhere.\n",
	}
	return plainServer(net.JoinHostPort(loopback, port), page, caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSON(refusal, nil)}})
}
