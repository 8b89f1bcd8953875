package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/oci"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("registry_mirror", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("registry_mirror", parseDirective)
	// After everything that guards a site, before everything that answers all
	// requests.
	httpcaddyfile.RegisterDirectiveOrder("registry_mirror", httpcaddyfile.Before, "respond")
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

// UnmarshalCaddyfile sets up the app from the global option. Syntax:
//
//	registry_mirror {
//		storage [<path>] {
//			max_size   <size>
//			min_free   <size>|<percent>
//			max_unused <duration>
//			max_index  <size>
//			pin        <image...>
//		}
//	}
//
// Sizes are such as 200GiB or 1TB, percentages such as 5%, durations such as 12h
// or 90d. Pinned images are never evicted: docker.io/library/alpine:3.*, or
// ghcr.io/org/** for all tags of all repositories below org. pin may be repeated.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // option name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "storage" {
			return d.Errf("unrecognized subdirective '%s': want storage", d.Val())
		}
		if a.Storage != nil {
			return d.Err("storage is already set")
		}
		a.Storage = new(Storage)
		if err := a.Storage.unmarshalCaddyfile(d); err != nil {
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
//			alias          <name...>
//			url            <url...> [{
//				credentials …
//				insecure_credentials
//			}]
//			credentials    <user> {env.<NAME>}|{file.<path>}
//			credentials    <source> [{ … }]
//			insecure_credentials
//			auth_origin    <origin...>
//			max_size       <size>
//			tag_ttl        <duration>
//			immutable_tags <regexp>
//			access         public|authenticated|<user...>
//			allow          <glob...>
//			deny           <glob...>
//			allow_address  <cidr...>
//			tls_ca         <file...>
//			tls_client     <certificate_file> <key_file>
//			proxy          <url>
//			dial_timeout|tls_timeout|token_timeout <duration>
//			response_header_timeout|read_timeout   <duration>
//			try_duration|stale_timeout             <duration>
//			misses_per_client <number>
//			max_fails|max_fills <count>
//			fail_duration|stale_if_denied|stale_if_gone <duration>
//			isolate        [on|off]
//			proof_ttl      <duration>
//			offline
//			stored_as <identity>
//		}
//	}
//
// Upstreams are named as in image references: docker.io, ghcr.io,
// harbor.corp:8443. One that needs no options is named on the line of the
// directive; a block for it adds options. At least one is required.
//
//   - default answers requests that name no upstream, as those of Docker daemons
//     with registry-mirrors.
//   - alias adds names for the same upstream.
//   - url says where it is, tried in order; by default https:// and the name,
//     for docker.io https://registry-1.docker.io.
//   - credentials logs in. Passwords are placeholders, to be replaced when the
//     configuration is loaded: the configuration itself is stored and shown.
//     They are for one origin: that of the first url at the host that the upstream
//     is named after, or else of the first; a block of url gives others their own.
//     A source is docker_config, google, ecr, acr or another module of the namespace
//     registry_mirror.credentials, which reads the block.
//     An upstream with credentials or tls_client answers authenticated users
//     only, unless access says otherwise.
//   - insecure_credentials sends them over http, too.
//   - auth_origin adds places that may see the credentials.
//   - max_size is the most bytes of blobs that this upstream may have brought
//     into the store; the least recently used go first.
//   - tag_ttl is how long a tag is believed before the upstream is asked again;
//     5m by default, 0 asks on every pull.
//   - immutable_tags matches, as a whole, tags that never change.
//   - access admits everybody, every user that Caddy has authenticated, or only
//     the users that are named.
//   - allow and deny limit which repositories are mirrored. * matches inside a
//     path component, ** across components; deny wins.
//   - allow_address permits redirects to private addresses.
//   - tls_ca trusts more authorities, tls_client shows a certificate. The files
//     are read when the configuration is loaded.
//   - proxy connects through an HTTP proxy. A URL with a password has to be a
//     placeholder.
//   - the timeouts are those of one connection, one TLS handshake, one token, the
//     header of an answer, and the time between two bytes of a blob; try_duration
//     is that of a look-up as a whole, all URLs and tries, and stale_timeout that
//     of one for which an old answer is at hand. See Timeouts.
//   - misses_per_client is how many look-ups and how many downloads of blobs one
//     client may have started at a time, 64 by default, 0 for any number. More of
//     them wait.
//   - max_fails, fail_duration, stale_if_denied, stale_if_gone and max_fills are for upstreams in
//     trouble; see Resilience.
//   - isolate keeps what the upstream sends from other upstreams, which is the default
//     where it need not be for everybody; proof_ttl is how long it is believed that a
//     repository has what it had once, 0 for ever. See Sharing.
//   - offline answers from the store only, and stored_as with what other URLs or
//     credentials had brought in, under the identity that the log tells.
//
// alias, url, auth_origin, allow, deny, allow_address and tls_ca may be repeated
// and add up. The others stand once.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // directive name
	start := *d
	names := names{}
	inline := map[string]*Upstream{}
	for d.NextArg() {
		u := &Upstream{Name: d.Val()}
		if err := names.claim(d, u.Name); err != nil {
			return err
		}
		inline[u.Name] = u
		h.Upstreams = append(h.Upstreams, u)
	}
	var seen options
	var fallback caddyfile.Dispenser // where default stands
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "default":
			if err := seen.once(d); err != nil {
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
				u = &Upstream{Name: d.Val()}
				if err := names.claim(d, u.Name); err != nil {
					return err
				}
				h.Upstreams = append(h.Upstreams, u)
			}
			delete(inline, u.Name) // a second block is one too many
			names[u.Name] = where(d)
			if d.NextArg() {
				return d.ArgErr()
			}
			if err := u.unmarshalCaddyfile(d, names); err != nil {
				return err
			}
		default:
			return d.Errf("unrecognized subdirective '%s': want upstream or default", d.Val())
		}
	}
	if len(h.Upstreams) == 0 {
		return start.Err("no upstream: name at least one registry to mirror, such as docker.io")
	}
	// What is left to check goes across lines.
	known, err := h.names()
	if err != nil {
		return start.WrapErr(err)
	}
	if _, ok := known[h.Default]; h.Default != "" && !ok {
		return fallback.Errf("default %s is not among the upstreams: add it, or name one of them", h.Default)
	}
	return nil
}

func (u *Upstream) unmarshalCaddyfile(d *caddyfile.Dispenser, names names) error {
	var seen options
	secrets := *d // where the last option stands that decides who gets them
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := *d // the errors below are about this line
		parse, ok := upstreamOptions[option.Val()]
		if !ok {
			return d.Errf("unrecognized subdirective '%s' of upstream %s: want one of %s", d.Val(), u.Name,
				strings.Join(slices.Sorted(maps.Keys(upstreamOptions)), ", "))
		}
		if !parse.repeats {
			if err := seen.once(d); err != nil {
				return err
			}
		}
		ahead := *d
		args := ahead.RemainingArgs()
		if len(args) < parse.min || len(args) > parse.max {
			return option.ArgErr()
		}
		if option.Val() == "alias" {
			for _, alias := range args {
				if err := names.claim(&option, alias); err != nil {
					return err
				}
			}
		}
		if option.Val() == "credentials" {
			secrets = option
			if err := u.parseOwnCredentials(d); err != nil {
				return err
			}
			continue
		}
		*d = ahead
		if err := parse.set(u, args); err != nil {
			return option.WrapErr(err)
		}
		if parse.files || hasPlaceholder(args) {
			u.keepOrigin(option.Val(), &option)
		}
		if option.Val() == "url" {
			if err := u.unmarshalURLCaddyfile(d, args); err != nil {
				return err
			}
		}
		if option.Val() == "url" || option.Val() == "auth_origin" {
			secrets = option
		}
	}
	if err := u.checkURLCredentials(); err != nil {
		return secrets.WrapErr(err)
	}
	return nil
}

// upstreamOption is how one option of an upstream is parsed.
type upstreamOption struct {
	min, max int // arguments
	repeats  bool
	files    bool // the arguments name files
	set      func(u *Upstream, args []string) error
}

const anyNumber = math.MaxInt

var upstreamOptions = map[string]upstreamOption{
	// The names were checked when they were claimed.
	"alias":         list(func(u *Upstream) *[]string { return &u.Alias }, nil),
	"url":           list(func(u *Upstream) *[]string { return &u.URL }, checkURL),
	"auth_origin":   list(func(u *Upstream) *[]string { return &u.AuthOrigin }, checkOrigin),
	"allow":         list(func(u *Upstream) *[]string { return &u.Allow }, oci.CheckGlob),
	"deny":          list(func(u *Upstream) *[]string { return &u.Deny }, oci.CheckGlob),
	"allow_address": list(func(u *Upstream) *[]string { return &u.AllowAddress }, checkPrefix),
	"tls_ca": {min: 1, max: anyNumber, repeats: true, files: true, set: func(u *Upstream, args []string) error {
		u.TLSCA = append(u.TLSCA, args...)
		return nil
	}},
	"tls_client": {min: 2, max: 2, files: true, set: func(u *Upstream, args []string) error {
		u.TLSClient = &TLSClient{Certificate: args[0], Key: args[1]}
		return nil
	}},
	"credentials": {min: 1, max: 2}, // a source may have a block
	"insecure_credentials": {set: func(u *Upstream, _ []string) error {
		u.InsecureCredentials = true
		return nil
	}},
	"proxy": {min: 1, max: 1, set: func(u *Upstream, args []string) error {
		u.Proxy = args[0]
		return checkProxy(args[0])
	}},
	"max_size": {min: 1, max: 1, set: func(u *Upstream, args []string) (err error) {
		if u.MaxSize, err = parseSize(args[0]); err != nil {
			return fmt.Errorf("max_size: %w", err)
		}
		return nil
	}},
	"tag_ttl": {min: 1, max: 1, set: func(u *Upstream, args []string) (err error) {
		if u.TagTTL, err = parseDuration(args[0]); err != nil {
			return fmt.Errorf("tag_ttl: %w", err)
		}
		if u.TagTTL == 0 {
			u.TagTTL = -1
		}
		return nil
	}},
	"immutable_tags": {min: 1, max: 1, set: func(u *Upstream, args []string) error {
		u.ImmutableTags = args[0]
		return checkRegexp(args[0])
	}},
	"access": {min: 1, max: anyNumber, set: func(u *Upstream, args []string) error {
		u.Access = new(Access)
		switch {
		case slices.Equal(args, []string{"public"}):
			u.Access.Public = true
		case slices.Equal(args, []string{"authenticated"}):
		case slices.Contains(args, "public") || slices.Contains(args, "authenticated"):
			return errors.New("access: public and authenticated stand alone, not beside user names")
		default:
			u.Access.Users = args
		}
		return u.Access.check()
	}},
	"offline": {set: func(u *Upstream, _ []string) error {
		u.Offline = true
		return nil
	}},
	"stored_as": {min: 1, max: 1, set: func(u *Upstream, args []string) error {
		u.StoredAs = args[0]
		return checkIdentity(u.Name, args[0])
	}},
}

// list is an option with any number of values, which add up.
func list(field func(*Upstream) *[]string, check func(string) error) upstreamOption {
	return upstreamOption{min: 1, max: anyNumber, repeats: true, set: func(u *Upstream, args []string) error {
		*field(u) = append(*field(u), args...)
		return each(check, args)
	}}
}

// names has every name and alias of a directive, and where it stands.
type names map[string]string

func (n names) claim(d *caddyfile.Dispenser, name string) error {
	if err := checkName(name); err != nil {
		return d.WrapErr(err)
	}
	if at, ok := n[name]; ok {
		return d.Errf("upstream %s is already declared at %s: two upstreams cannot have one name", name, at)
	}
	n[name] = where(d)
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
