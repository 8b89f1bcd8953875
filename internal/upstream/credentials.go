package upstream

import (
	"context"
	"net/url"
	"slices"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	"github.com/pullgate/pullgate/internal/upstream/internal/auth"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// Credentials is where an upstream's user name and password come from. The
// zero value is no credentials. It prints no secret under any verb: what it
// holds is a function.
type Credentials struct {
	login func(ctx context.Context, host string) (credentials.Login, error)
	// own says that they are for one origin of this upstream, whatever it is called;
	// others are looked up for each host.
	own bool
}

// IsZero reports whether there are no credentials.
func (c Credentials) IsZero() bool { return c.login == nil }

// String implements fmt.Stringer.
func (c Credentials) String() string {
	if c.IsZero() {
		return "no credentials"
	}
	return "credentials"
}

// BasicCredentials are a fixed user name and password, for the token server or
// for the registry itself, whichever it asks for.
func BasicCredentials(user, password string) Credentials {
	return RotatedCredentials(user, func() string { return password })
}

// RotatedCredentials are BasicCredentials whose password may change: that is seen within
// five minutes, and at once when the old one is refused.
func RotatedCredentials(user string, password func() string) Credentials {
	return Credentials{own: true, login: func(context.Context, string) (credentials.Login, error) {
		return credentials.Login{Username: user, Password: password()}, nil
	}}
}

// SourceCredentials are looked up for the host of each URL. Changes are seen within five
// minutes.
func SourceCredentials(s credentials.Source) Credentials {
	return Credentials{login: func(ctx context.Context, host string) (credentials.Login, error) { return s.Login(ctx, host) }}
}

// CredentialsFor returns who to be at one of the URLs: whoever URLCredentials names for
// it, or else Credentials. A user name and a password are those of one origin, not of
// whoever else has copies of the same images: the first URL at the host that the upstream
// is named after, or else the first URL, says which. What is looked up by host is for each
// URL what it is for its host.
func (o Options) CredentialsFor(u *url.URL) Credentials {
	if own, ok := o.URLCredentials[u.String()]; ok {
		return own
	}
	if o.Credentials.own && egress.OriginOf(u) != egress.OriginOf(o.chief()) {
		return Credentials{}
	}
	return o.Credentials
}

// chief returns the URL that a user name and a password without a URL are for.
func (o Options) chief() *url.URL {
	named := url.URL{Host: o.Name}
	for _, u := range o.URLs {
		if auth.KeychainHost(u) == auth.KeychainHost(&named) || egress.OriginOf(u).Host == egress.OriginOf(&named).Host {
			return u
		}
	}
	return o.URLs[0]
}

// Exposed returns the URLs and auth origins to which credentials would go without TLS,
// except for those of this machine.
func (o Options) Exposed() (exposed []string) {
	for _, u := range o.URLs {
		if !o.CredentialsFor(u).IsZero() && isPlain(u) {
			exposed = append(exposed, u.String())
		}
	}
	// A token server is never asked without TLS where the registry has it.
	if !slices.ContainsFunc(o.URLs, func(u *url.URL) bool { return !o.CredentialsFor(u).IsZero() && u.Scheme == "http" }) {
		return exposed
	}
	for _, s := range o.AuthOrigins {
		if u, err := url.Parse(s); err == nil && isPlain(u) {
			exposed = append(exposed, s)
		}
	}
	return exposed
}

// isPlain reports whether everybody on the way to a URL can read what is sent there.
func isPlain(u *url.URL) bool {
	return u.Scheme == "http" && !egress.IsLocalhost(u.Hostname()) && !egress.LiteralOf(u).Addr().IsLoopback()
}
