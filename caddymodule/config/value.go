package config

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// each returns the first error of a check, if there is one.
func each(check func(string) error, values []string) error {
	for _, value := range values {
		if check == nil {
			break
		}
		if err := check(value); err != nil {
			return err
		}
	}
	return nil
}

// Where returns the place of what was just read.
func Where(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

func hasPlaceholder(args []string) bool { return strings.Contains(strings.Join(args, ""), "{") }

// keepOrigin notes where an option stands whose values are looked up only when the
// configuration is loaded.
func (u *Upstream) keepOrigin(option string, d *caddyfile.Dispenser) {
	if u.Origin == nil {
		u.Origin = map[string]string{}
	}
	u.Origin[option] = Where(d)
}
