package config

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/dockerconfig" // the source that needs no cloud's SDK
)

// credentialsNamespace is that of the modules which are sources of credentials.
const credentialsNamespace = "registry_mirror.credentials"

// load makes the source, if there is one.
func (c *Credentials) load(ctx caddy.Context, l *login) error {
	if c == nil || c.Provider == "" {
		return nil
	}
	raw, err := json.Marshal(c)
	if err != nil {
		return err
	}
	module := Credentials{SourceRaw: raw} // which is emptied then
	value, err := ctx.LoadModule(&module, "SourceRaw")
	if err != nil {
		return err
	}
	source, ok := value.(credentials.Source)
	if !ok {
		return fmt.Errorf("%s.%s is no source of credentials", credentialsNamespace, c.Provider)
	}
	l.source = source
	return nil
}

// sourceFunc is a source that is a function.
type sourceFunc func(ctx context.Context, registry string) (credentials.Login, error)

// Login implements credentials.Source.
func (f sourceFunc) Login(ctx context.Context, registry string) (credentials.Login, error) {
	return f(ctx, registry)
}

// lateSource returns a source that is made when it is asked first, and lives as long as
// the process: that of a command, which runs no configuration.
func (c *Credentials) lateSource() credentials.Source {
	made := sync.OnceValues(func() (credentials.Source, error) {
		ctx, _ := caddy.NewContext(caddy.Context{Context: context.Background()})
		var l login
		err := c.load(ctx, &l)
		return l.source, err
	})
	return sourceFunc(func(ctx context.Context, registry string) (credentials.Login, error) {
		source, err := made()
		if err != nil {
			return credentials.Login{}, err
		}
		return source.Login(ctx, registry)
	})
}

// sourceIdentity returns the name of the source and its options, as configured; empty =
// there is none.
func (c *Credentials) sourceIdentity() string {
	if c == nil {
		return ""
	}
	var options map[string]json.RawMessage
	_ = json.Unmarshal(c.SourceRaw, &options) // it was read before
	delete(options, "provider")
	if len(options) == 0 {
		return c.Provider
	}
	sorted, _ := json.Marshal(options)
	return c.Provider + string(sorted)
}

// sourceFingerprint is sourceIdentity with the secrets that the options lead to.
func (c *Credentials) sourceFingerprint() string {
	return caddy.NewReplacer().ReplaceKnown(c.sourceIdentity(), "")
}

// HasSource reports whether a source tells who to be, so that equal configurations need
// not mean equal secrets.
func (e *Endpoint) HasSource() bool {
	for _, own := range e.URLCredentials {
		if own.Provider != "" {
			return true
		}
	}
	return e.Credentials != nil && e.Credentials.Provider != ""
}

// sources returns the names of those that are compiled in.
func sources() (names []string) {
	for _, module := range caddy.GetModules(credentialsNamespace) {
		names = append(names, module.ID.Name())
	}
	return names
}

// LoadSources makes the sources of a provisioned upstream, as modules of ctx.
func (u *Upstream) LoadSources(ctx caddy.Context) error {
	load := func(option string, c *Credentials, l login) (login, error) {
		if err := c.load(ctx, &l); err != nil {
			return l, u.optionError(option, err)
		}
		return l, nil
	}
	var err error
	if u.resolved.login, err = load("credentials", u.Credentials, u.resolved.login); err != nil {
		return err
	}
	for _, s := range u.urls() {
		if u.resolved.urlLogins[s], err = load(urlOption(s), u.at(s), u.resolved.urlLogins[s]); err != nil {
			return err
		}
	}
	return nil
}

// parseSource parses the block of a source, whose name d stands at. One without
// options need not be a caddyfile.Unmarshaler.
func (c *Credentials) parseSource(d *caddyfile.Dispenser) error {
	id := credentialsNamespace + "." + c.Provider
	module, err := caddy.GetModule(id)
	if err != nil {
		return d.WrapErr(err)
	}
	if _, ok := module.New().(caddyfile.Unmarshaler); !ok {
		if ahead := *d; ahead.NextBlock(ahead.Nesting()) {
			return d.Errf("credentials %s has no options", c.Provider)
		}
		return nil
	}
	source, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	c.SourceRaw = caddyconfig.JSONModuleObject(source, "provider", c.Provider, nil)
	return nil
}
