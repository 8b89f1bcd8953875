package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/internal/upstream"
)

// Credentials are a user name and a password, or the name of a provider.
type Credentials struct {
	// The user; placeholders {env.*} and {file.*} are replaced.
	Username string `json:"username,omitempty"`

	// The password or access token, as a placeholder: {env.NAME} or
	// {file./path}. A literal one is refused, because configurations are stored
	// and shown.
	Password string `json:"password,omitempty"`

	// Take the credentials from elsewhere: docker_config (the Docker
	// configuration file and its credential helpers), google, ecr or acr (the
	// cloud's identity of this machine).
	Provider string `json:"provider,omitempty"`
}

// URLCredentials are the credentials of one URL.
type URLCredentials struct {
	Credentials

	// Send them without TLS, too. It is enough by itself: the credentials are those
	// of the upstream then, if they are for this URL.
	InsecureCredentials bool `json:"insecure_credentials,omitempty"`
}

// login is a user name and a password without placeholders.
type login struct{ username, password string }

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
	case c.Provider == "docker_config":
		return upstream.DockerConfigCredentials()
	case c.Provider == "google":
		return upstream.GoogleCredentials()
	case c.Provider == "ecr":
		return upstream.ECRCredentials()
	case c.Provider == "acr":
		return upstream.ACRCredentials()
	}
	return upstream.BasicCredentials(l.username, l.password)
}

// at returns the credentials of a URL's own; nil = none.
func (u *Upstream) at(url string) *Credentials {
	if own := u.URLCredentials[url]; own != nil && own.Credentials != (Credentials{}) {
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

func (u *Upstream) lookUpCredentials(repl *caddy.Replacer) (err error) {
	u.resolved.login, err = u.Credentials.lookUp(repl)
	return err
}

func (u *Upstream) lookUpURLCredentials(url string) func(*caddy.Replacer) error {
	return func(repl *caddy.Replacer) (err error) {
		u.resolved.urlLogins[url], err = u.at(url).lookUp(repl)
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
		if own == nil || *own == (URLCredentials{}) {
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
//		credentials docker_config|google|ecr|acr
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
		args := d.RemainingArgs()
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
			if own.Credentials != (Credentials{}) {
				return option.Errf("url %s already has credentials", urls[0]) // in another block
			}
			parsed, err := parseCredentials(args)
			if err != nil {
				return option.WrapErr(err)
			}
			own.Credentials = *parsed
			if hasPlaceholder(args) {
				u.keepOrigin(urlOption(urls[0]), &option)
			}
		case "insecure_credentials":
			if len(args) > 0 {
				return option.ArgErr()
			}
			own.InsecureCredentials = true
		default:
			return option.Errf("unrecognized subdirective '%s' of url: want credentials or insecure_credentials", option.Val())
		}
	}
	return nil
}

// parseCredentials parses the arguments of an option credentials.
func parseCredentials(args []string) (*Credentials, error) {
	c := new(Credentials)
	switch len(args) {
	case 1:
		c.Provider = args[0]
	case 2:
		c.Username, c.Password = args[0], args[1]
	default:
		return nil, errors.New("credentials: want a user name and a password, or one of " + strings.Join(providers, ", "))
	}
	return c, c.check()
}
