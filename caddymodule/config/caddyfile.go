package config

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalBlock parses the block of an upstream. Its aliases are claimed.
func (u *Upstream) UnmarshalBlock(d *caddyfile.Dispenser, names Names) error {
	name := *d
	secrets := *d // where the last option stands that decides who gets them
	err := parseBlock(d, "upstream "+u.Name, upstreamOptions, u, func(line *caddyfile.Dispenser, args []string) error {
		option := line.Val()
		if option == "alias" {
			for _, alias := range args {
				if err := names.Claim(line, alias); err != nil {
					return err
				}
			}
		}
		if upstreamOptions[option].files || hasPlaceholder(args) {
			u.keepOrigin(option, line)
		}
		if option == "url" || option == "credentials" || option == "auth_origin" {
			secrets = *line
		}
		if option == "url" {
			return u.unmarshalURLCaddyfile(d, args)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := u.checkURLCredentials(); err != nil {
		return secrets.WrapErr(err)
	}
	if err := CheckHub(u); err != nil {
		return name.WrapErr(err)
	}
	return nil
}

// Seen are the options that a block has had so far, and where.
type Seen map[string]string

// Once refuses an option that stands a second time.
func (o *Seen) Once(d *caddyfile.Dispenser) error {
	if at, ok := (*o)[d.Val()]; ok {
		return d.Errf("%s is already set at %s", d.Val(), at)
	}
	if *o == nil {
		*o = Seen{}
	}
	(*o)[d.Val()] = Where(d)
	return nil
}

// Names has every name and alias of a directive, and where it stands.
type Names map[string]string

// Claim refuses a name that is none, or another's.
func (n Names) Claim(d *caddyfile.Dispenser, name string) error {
	if err := checkName(name); err != nil {
		return d.WrapErr(err)
	}
	if at, ok := n[name]; ok {
		return d.Errf("upstream %s is already declared at %s: two upstreams cannot have one name", name, at)
	}
	n[name] = Where(d)
	return nil
}
