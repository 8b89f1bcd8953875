package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/caddymodule/dashboard"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("registry_mirror", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("registry_mirror", parseDirective)
	// After everything that guards a site, before everything that answers all
	// requests.
	httpcaddyfile.RegisterDirectiveOrder("registry_mirror", httpcaddyfile.Before, "respond")
	httpcaddyfile.RegisterHandlerDirective("registry_mirror_dashboard", parseDashboard)
	// After registry_mirror: the page answers whatever ends with a slash.
	httpcaddyfile.RegisterDirectiveOrder("registry_mirror_dashboard", httpcaddyfile.Before, "respond")
}

func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next() // option name
		return nil, d.Err("the global option registry_mirror is already set: put everything into one block")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "registry_mirror", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return handler, err
}

func parseDashboard(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(dashboard.Dashboard)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	return handler, err
}

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	registry_mirror {
//		storage [<path>] {
//			<option> <argument...>
//		}
//		fleet [<url>] {
//			credentials <access_key> {env.<NAME>}|{file.<path>}
//			credentials aws
//			region      <name>
//			max_size    <size>
//			max_unused  <duration>
//			peers       <host:port...>
//			listen      <address>
//			secret      {env.<NAME>}|{file.<path>}
//		}
//	}
//
// The options of storage are the fields of Storage, in snake case; but min_free is a size or a
// percentage, and pin may be repeated. Sizes are such as 200GiB or 1TB, percentages such
// as 5%, durations such as 12h or 90d.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // option name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch {
		case d.Val() == "storage" && a.Storage != nil, d.Val() == "fleet" && a.Fleet != nil:
			err = d.Errf("%s is already set", d.Val())
		case d.Val() == "storage":
			a.Storage = new(config.Storage)
			err = a.Storage.UnmarshalCaddyfile(d)
		case d.Val() == "fleet":
			a.Fleet = new(config.Fleet)
			err = a.Fleet.UnmarshalCaddyfile(d)
		default:
			err = d.Errf("unrecognized subdirective '%s'%s: want storage or fleet", d.Val(), config.Misplaced(d.Val(), "storage", "fleet"))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// UnmarshalCaddyfile sets up the handler from the directive. Syntax:
//
//	registry_mirror [<matcher>] [<upstream...>] {
//		default  <upstream>
//		upstream <name> {
//			<option> [<argument...>]
//		}
//	}
//
// Upstreams are named as in image references: docker.io, ghcr.io,
// harbor.corp:8443. One that needs no options is named on the line of the
// directive; a block for it adds options. At least one is required.
//
// The options are the fields of Upstream, in snake case. Lists may be repeated and add
// up, and the others stand once; those that are true or false need no argument. A 0
// stands for what is -1 in JSON. credentials has a user name and a password, or a source
// (docker_config, google, ecr, acr or another module of the namespace
// registry_mirror.credentials), which may have a block. A url may have a block, too, with
// credentials of its own and insecure_credentials. access is public, authenticated or users, look_ahead a number
// or off, and a size.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	start := *d
	names := config.Names{}
	inline := map[string]*config.Upstream{}
	for d.NextArg() {
		u := &config.Upstream{Name: d.Val()}
		if err := names.Claim(d, u.Name); err != nil {
			return err
		}
		inline[u.Name] = u
		h.Upstreams = append(h.Upstreams, u)
	}
	var seen config.Seen
	var fallback caddyfile.Dispenser // where default stands
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "default":
			if err := seen.Once(d); err != nil {
				return err
			}
			if !d.AllArgs(&h.Default) {
				return d.ArgErr()
			}
			fallback = *d
		case "upstream":
			if !d.NextArg() {
				return d.ArgErr()
			}
			u := inline[d.Val()]
			if u == nil {
				u = &config.Upstream{Name: d.Val()}
				if err := names.Claim(d, u.Name); err != nil {
					return err
				}
				h.Upstreams = append(h.Upstreams, u)
			}
			delete(inline, u.Name) // a second block is one too many
			names[u.Name] = config.Where(d)
			if d.NextArg() {
				return d.ArgErr()
			}
			if err := u.UnmarshalBlock(d, names); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s'%s: want upstream or default", d.Val(), config.Misplaced(d.Val(), "upstream", "default"))
		}
	}
	if len(h.Upstreams) == 0 {
		return start.Err("no upstream: name at least one registry to mirror, such as docker.io")
	}
	for _, u := range inline {
		if err := config.CheckHub(u); err != nil {
			return start.WrapErr(err)
		}
	}
	// What is left to check goes across lines.
	known, err := h.names()
	if err != nil {
		return start.WrapErr(err)
	}
	if _, ok := known[h.Default]; h.Default != "" && !ok {
		return fallback.WrapErr(h.errDefault(known))
	}
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
