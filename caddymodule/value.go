package caddymodule

import (
	"fmt"
	"math"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
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

func where(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is no size: want such as 200GiB", s)
	}
	return int64(n), nil
}

func parseDuration(s string) (caddy.Duration, error) {
	t, err := caddy.ParseDuration(s)
	if err != nil || t < 0 {
		return 0, fmt.Errorf("%q is no duration: want such as 5m, 12h or 90d", s)
	}
	return caddy.Duration(t), nil
}

func hasPlaceholder(args []string) bool { return strings.Contains(strings.Join(args, ""), "{") }

// keepOrigin notes where an option stands whose values are looked up only when the
// configuration is loaded.
func (u *Upstream) keepOrigin(option string, d *caddyfile.Dispenser) {
	if u.Origin == nil {
		u.Origin = map[string]string{}
	}
	u.Origin[option] = where(d)
}

// options are those that a block has had so far.
type options map[string]string

func (o *options) once(d *caddyfile.Dispenser) error {
	if at, ok := (*o)[d.Val()]; ok {
		return d.Errf("%s is already set at %s", d.Val(), at)
	}
	if *o == nil {
		*o = options{}
	}
	(*o)[d.Val()] = where(d)
	return nil
}
