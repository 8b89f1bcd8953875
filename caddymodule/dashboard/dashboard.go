package dashboard

import (
	"context"
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/operate"
)

// Options say what a dashboard is about.
type Options struct {
	Gateway *operate.Local
	// User returns whom Caddy's authentication found; empty = nobody.
	User func(*http.Request) string
}

// Dashboard is a page about this gateway: what it saves, what is being pulled, how its
// upstreams fare, what is cached, and how clients are set up. It works below any path;
// the path of the page itself ends with a slash.
//
// Whoever reaches it sees the figures of the whole gateway, and of upstreams, images and
// pulls those that he may pull himself: where the option access of an upstream asks for
// a user, the page needs the same authentication before it, such as basic_auth. For
// operators, show_all shows the rest, too. Requests for anything that is not the page's go
// to the next handler.
type Dashboard struct {
	// Let whoever sees an image pin, remove and refresh it, and whoever sees an
	// upstream test it. Default: false, the page only shows.
	Actions bool `json:"actions,omitempty"`

	// The users whom actions are for, as Caddy's authentication names them. Default:
	// everybody who sees the page.
	ActionUsers []string `json:"action_users,omitempty"`

	// Show everything to everybody who reaches the page, whatever the option access of
	// upstreams says. It is for a page that only operators reach. Default: false.
	ShowAll bool `json:"show_all,omitempty"`

	options Options
	run     *run
}

// run is the run-time state of a Dashboard.
type run struct {
	gateway *operate.Local
	user    func(*http.Request) string
	allowed allowed
	hub     *hub
	images  *catalogue
	end     context.CancelFunc
}

// New returns what Caddy makes dashboards from.
func New(o Options) Dashboard { return Dashboard{options: o} }

// CaddyModule returns the Caddy module information.
func (d Dashboard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.registry_mirror_dashboard",
		New: func() caddy.Module { return &Dashboard{options: d.options} },
	}
}

// Provision prepares what the page asks for. Nothing runs while nobody looks.
func (d *Dashboard) Provision(ctx caddy.Context) error {
	d.start(ctx)
	// The servers wait for their clients before anything is cleaned up.
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		server.RegisterOnShutdown(d.run.end)
	}
	return nil
}

func (d *Dashboard) start(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	may := allowed{d.Actions, d.ActionUsers, d.ShowAll}
	d.run = &run{
		gateway: d.options.Gateway, user: d.options.User, allowed: may,
		hub: newHub(ctx, d.options.Gateway, may), images: newCatalogue(ctx, d.options.Gateway), end: end,
	}
}

// Cleanup sends those away who listen.
func (d *Dashboard) Cleanup() error {
	if d.run != nil {
		d.run.end()
	}
	return nil
}

// ServeHTTP answers requests for the page and what belongs to it.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	folder, name := path.Split(r.URL.Path)
	if strings.HasSuffix(folder, "/api/") {
		if answer, ok := answers[name]; ok {
			secure(w.Header())
			return d.run.serve(w, r, answer)
		}
		return next.ServeHTTP(w, r)
	}
	asset, ok := assets[name]
	if !ok {
		return next.ServeHTTP(w, r)
	}
	secure(w.Header())
	return asset.serve(w, r)
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax:
//
//	registry_mirror_dashboard [<matcher>] {
//		actions [<users...>]
//		show    all
//	}
func (d *Dashboard) UnmarshalCaddyfile(c *caddyfile.Dispenser) error {
	c.Next() // directive name
	if c.NextArg() {
		return c.ArgErr()
	}
	for nesting := c.Nesting(); c.NextBlock(nesting); {
		switch c.Val() {
		case "actions":
			users := c.RemainingArgs()
			if d.Actions && (len(users) == 0 || len(d.ActionUsers) == 0) {
				return c.Err("actions is given twice: once for everybody, or with users")
			}
			d.Actions, d.ActionUsers = true, append(d.ActionUsers, users...)
		case "show":
			if args := c.RemainingArgs(); len(args) != 1 || args[0] != "all" {
				return c.Err("show: want all; without it, everybody is shown what he may pull")
			}
			d.ShowAll = true
		default:
			return c.Errf("unrecognized subdirective '%s': want actions or show", c.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Dashboard)(nil)
	_ caddy.CleanerUpper          = (*Dashboard)(nil)
	_ caddyfile.Unmarshaler       = (*Dashboard)(nil)
	_ caddyhttp.MiddlewareHandler = (*Dashboard)(nil)
)
