package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/upstream"
)

// Credentials are a user name and a password, or a source that tells them.
type Credentials struct {
	// The user; placeholders {env.*} and {file.*} are replaced.
	Username string `json:"username,omitempty"`

	// The password or access token, as a placeholder: {env.NAME} or
	// {file./path}. A literal one is refused, because configurations are stored
	// and shown.
	Password string `json:"password,omitempty"`

	// Take the credentials from a source: docker_config (the Docker
	// configuration file and its credential helpers), google, ecr or acr (the
	// cloud's identity of this machine), or another module of the namespace
	// registry_mirror.credentials. The options of the source stand beside it.
	Provider string `json:"provider,omitempty"`

	// The source with its options, and with provider among them.
	SourceRaw json.RawMessage `json:"-" caddy:"namespace=registry_mirror.credentials inline_key=provider"`
}

// Endpoint is where an upstream is reached, and as whom.
type Endpoint struct {
	// Where the upstream is reached, tried in order: http or https URLs, with
	// the path that /v2/ lies below, if any. The path of a mirror that has
	// /v2/ in it ("/v2/proxy-docker.io") is what repositories lie below.
	// Default: https:// and the name, https://registry-1.docker.io for docker.io.
	URL []string `json:"url,omitempty"`

	// What the upstream is logged in to with. A user name and a password are sent to
	// one origin: of the first URL at the host that the upstream is named after, or
	// else of the first URL. Others are for url_credentials. Default: nothing,
	// anonymous.
	Credentials *Credentials `json:"credentials,omitempty"`

	// The credentials of single URLs, by the URL as it stands in url.
	URLCredentials map[string]*URLCredentials `json:"url_credentials,omitempty"`

	// Send credentials over http too, to other hosts than the loopback. Everybody on
	// the way can read them. Default: false, such a configuration is refused.
	InsecureCredentials bool `json:"insecure_credentials,omitempty"`

	// More origins that may see the credentials, besides the upstream's own and
	// the token servers of well-known registries. Token servers there may be at
	// private addresses.
	AuthOrigin []string `json:"auth_origin,omitempty"`
}

// URLCredentials are the credentials of one URL.
type URLCredentials struct {
	Credentials

	// Send them without TLS, too. It is enough by itself: the credentials are those
	// of the upstream then, if they are for this URL.
	InsecureCredentials bool `json:"insecure_credentials,omitempty"`
}

// login is a user name and a password without placeholders, or a source.
type login struct {
	username, password string
	source             credentials.Source
}

func (c *Credentials) isZero() bool {
	return c == nil || c.Username == "" && c.Password == "" && c.Provider == ""
}

// UnmarshalJSON implements json.Unmarshaler. What stands beside provider is for the
// source to read.
func (c *Credentials) UnmarshalJSON(raw []byte) error {
	var inline struct {
		Provider string `json:"provider"`
	}
	if err := json.Unmarshal(raw, &inline); err != nil {
		return err
	}
	if inline.Provider != "" {
		*c = Credentials{Provider: inline.Provider, SourceRaw: bytes.Clone(raw)}
		return nil
	}
	type plain Credentials
	return caddy.StrictUnmarshalJSON(raw, (*plain)(c))
}

// MarshalJSON implements json.Marshaler.
func (c Credentials) MarshalJSON() ([]byte, error) {
	if len(c.SourceRaw) > 0 {
		return c.SourceRaw, nil
	}
	type plain Credentials
	return json.Marshal(plain(c))
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *URLCredentials) UnmarshalJSON(raw []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return err
	}
	const option = "insecure_credentials"
	if insecure, ok := fields[option]; ok {
		if err := json.Unmarshal(insecure, &c.InsecureCredentials); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
		delete(fields, option)
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return c.Credentials.UnmarshalJSON(rest)
}

// MarshalJSON implements json.Marshaler.
func (c URLCredentials) MarshalJSON() ([]byte, error) {
	raw, err := c.Credentials.MarshalJSON()
	if err != nil || !c.InsecureCredentials {
		return raw, err
	}
	inner := bytes.TrimSuffix(raw, []byte("}"))
	if !bytes.HasSuffix(inner, []byte("{")) {
		inner = append(inner, ',')
	}
	return append(inner, `"insecure_credentials":true}`...), nil
}

func (c *Credentials) lookUp(repl *caddy.Replacer) (l login, err error) {
	if c == nil {
		return login{}, nil
	}
	if l.username, err = lookUp(repl, c.Username); err != nil {
		return login{}, err
	}
	l.password, err = lookUp(repl, c.Password)
	return l, err
}

// engine returns the credentials as a client takes them.
func (c *Credentials) engine(l login) upstream.Credentials {
	switch {
	case c == nil:
		return upstream.Credentials{}
	case c.Provider != "" && l.source == nil:
		return upstream.SourceCredentials(c.lateSource())
	case c.Provider != "":
		return upstream.SourceCredentials(l.source)
	case !strings.Contains(c.Password, "{file."):
		return upstream.BasicCredentials(l.username, l.password)
	}
	return upstream.RotatedCredentials(l.username, func() string {
		if now, err := lookUp(caddy.NewReplacer(), c.Password); err == nil { // else its file is just being replaced
			return now
		}
		return l.password
	})
}

// at returns the credentials of a URL's own; nil = none.
func (e *Endpoint) at(url string) *Credentials {
	if own := e.URLCredentials[url]; own != nil && !own.Credentials.isZero() {
		return &own.Credentials
	}
	return nil
}

// credentials sets in o who to be at which URL.
func (u *Upstream) credentials(o *upstream.Options, r *resolvedUpstream) {
	o.Credentials = u.Credentials.engine(r.login)
	o.URLCredentials = map[string]upstream.Credentials{}
	for i, s := range u.urls() {
		if own := u.at(s); own != nil {
			o.URLCredentials[o.URLs[i].String()] = own.engine(r.urlLogins[s])
		}
	}
}

func (e *Endpoint) lookUpCredentials(repl *caddy.Replacer, r *resolvedUpstream) (err error) {
	r.login, err = e.Credentials.lookUp(repl)
	return err
}

func (e *Endpoint) lookUpURLCredentials(url string) func(*caddy.Replacer, *resolvedUpstream) error {
	return func(repl *caddy.Replacer, r *resolvedUpstream) (err error) {
		r.urlLogins[url], err = e.at(url).lookUp(repl)
		return err
	}
}

// urlOption is how an option for one URL is called in messages and in Upstream.Origin.
func urlOption(url string) string { return "credentials of " + url }

// checkURLCredentials tells what is wrong with the credentials of single URLs, and
// whether a password would be sent where everybody on the way can read it.
func (u *Upstream) checkURLCredentials() error {
	for s, own := range u.URLCredentials {
		if !slices.Contains(u.urls(), s) {
			return fmt.Errorf("url_credentials: %q is not among the URLs of the upstream", s)
		}
		if err := u.at(s).check(); err != nil {
			return fmt.Errorf("url %s: %w", s, err)
		}
		if own == nil || own.isZero() && !own.InsecureCredentials {
			return fmt.Errorf("url_credentials: %s has neither credentials nor insecure_credentials", s)
		}
	}
	if u.InsecureCredentials {
		return nil
	}
	o := upstream.Options{Name: u.Name, AuthOrigins: u.AuthOrigin}
	insecure := map[string]bool{}
	for _, s := range u.urls() {
		parsed, err := parseURL(s)
		if err != nil {
			return nil //nolint:nilerr // which others tell
		}
		o.URLs = append(o.URLs, parsed)
		insecure[parsed.String()] = u.URLCredentials[s] != nil && u.URLCredentials[s].InsecureCredentials
	}
	u.credentials(&o, new(resolvedUpstream))
	for _, s := range o.Exposed() {
		if !insecure[s] {
			return fmt.Errorf("credentials would be sent to %s without TLS, where others can read them: use https, or allow it with insecure_credentials", s)
		}
	}
	return nil
}

// unmarshalURLCaddyfile parses the block of an option url, if there is one:
//
//	url <url> {
//		credentials <user> {env.<NAME>}|{file.<path>}
//		credentials <source> [{ … }]
//		insecure_credentials
//	}
func (u *Upstream) unmarshalURLCaddyfile(d *caddyfile.Dispenser, urls []string) error {
	var seen Seen
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if len(urls) > 1 {
			return d.Err("a block of url is for one URL: give each its own line")
		}
		if err := seen.Once(d); err != nil {
			return err
		}
		option := *d
		if u.URLCredentials == nil {
			u.URLCredentials = map[string]*URLCredentials{}
		}
		own := u.URLCredentials[urls[0]]
		if own == nil {
			own = new(URLCredentials)
			u.URLCredentials[urls[0]] = own
		}
		switch option.Val() {
		case "credentials":
			if !own.isZero() {
				return option.Errf("url %s already has credentials", urls[0]) // in another block
			}
			parsed, err := u.parseCredentials(d, urlOption(urls[0]))
			if err != nil {
				return err
			}
			own.Credentials = *parsed
		case "insecure_credentials":
			if d.NextArg() {
				return option.ArgErr()
			}
			own.InsecureCredentials = true
		default:
			return option.Errf("unrecognized subdirective '%s' of url: want credentials or insecure_credentials", option.Val())
		}
	}
	return nil
}

// parseCredentials parses the option credentials, which d stands at, with the block of
// a source. name is what the option is called in Upstream.Origin.
func (u *Upstream) parseCredentials(d *caddyfile.Dispenser, name string) (*Credentials, error) {
	option := *d
	ahead := *d
	args := ahead.RemainingArgs()
	c := new(Credentials)
	switch len(args) {
	case 1:
		c.Provider = args[0]
	case 2:
		c.Username, c.Password = args[0], args[1]
	default:
		return nil, option.WrapErr(errors.New("credentials: want a user name and a password, or one of " + strings.Join(sources(), ", ")))
	}
	if err := c.check(); err != nil {
		return nil, option.WrapErr(err)
	}
	d.NextArg()
	if c.Provider == "" {
		d.NextArg()
	} else if err := c.parseSource(d); err != nil {
		return nil, err
	}
	if hasPlaceholder(args) || len(c.SourceRaw) > 0 {
		u.keepOrigin(name, &option)
	}
	return c, nil
}
