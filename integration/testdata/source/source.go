// Package source is a source of credentials as somebody else writes it: a module of its
// own, which Pullgate does not know. It reads a user name and a password from a file.
package source

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/caddymodule/credentials"
)

func init() { caddy.RegisterModule(LoginFile{}) }

// LoginFile reads "user:password" from a file, whenever it is asked.
type LoginFile struct {
	// The file.
	Path string `json:"path,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (LoginFile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "registry_mirror.credentials.login_file",
		New: func() caddy.Module { return new(LoginFile) },
	}
}

// UnmarshalCaddyfile sets up the source. Syntax:
//
//	credentials login_file {
//		path <file>
//	}
func (f *LoginFile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // name of the source
	for d.NextBlock(0) {
		if d.Val() != "path" {
			return d.Errf("unrecognized subdirective '%s' of login_file: want path", d.Val())
		}
		if !d.AllArgs(&f.Path) {
			return d.ArgErr()
		}
	}
	return nil
}

// Validate implements caddy.Validator.
func (f *LoginFile) Validate() error {
	if f.Path == "" {
		return errors.New("login_file needs a path")
	}
	return nil
}

// Login implements credentials.Source.
func (f *LoginFile) Login(context.Context, string) (credentials.Login, error) {
	raw, err := os.ReadFile(f.Path)
	if err != nil {
		return credentials.Login{}, err
	}
	user, password, ok := strings.Cut(strings.TrimSpace(string(raw)), ":")
	if !ok {
		return credentials.Login{}, errors.New("the file holds no user:password")
	}
	return credentials.Login{Username: user, Password: password}, nil
}

// Interface guards
var (
	_ caddy.Validator       = (*LoginFile)(nil)
	_ caddyfile.Unmarshaler = (*LoginFile)(nil)
	_ credentials.Source    = (*LoginFile)(nil)
)
