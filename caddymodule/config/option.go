package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
)

// option is one option of a block of a Caddyfile, which sets something of a T. What it
// means is said at the field.
type option[T any] struct {
	// usage is how the arguments are written. One in brackets may be left out, and of
	// one that ends in ... there may be more.
	usage   string
	repeats bool // it may stand more than once, and adds up
	files   bool // the arguments name files
	set     func(to *T, args []string) error
	// parse is in place of set where there may be a block: d is at the option.
	parse func(to *T, d *caddyfile.Dispenser) error
}

// arguments returns how many arguments there may be.
func (o option[T]) arguments() (least, most int) {
	for argument := range strings.FieldsSeq(o.usage) {
		if most++; argument[0] != '[' {
			least++
		}
		if strings.Contains(argument, "...") {
			most = math.MaxInt
		}
	}
	return least, most
}

// parseBlock parses the options of a block of d, which is that of what is named of.
// after is called after each option, with its line.
func parseBlock[T any](d *caddyfile.Dispenser, of string, table map[string]option[T], to *T,
	after func(line *caddyfile.Dispenser, args []string) error,
) error {
	var seen Seen
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		line := *d // the errors below are about it
		option, ok := table[line.Val()]
		if !ok {
			known := slices.Sorted(maps.Keys(table))
			return d.Errf("unrecognized subdirective '%s' of %s%s: want one of %s", d.Val(), of, nearest.Hint(d.Val(), known), strings.Join(known, ", "))
		}
		if !option.repeats {
			if err := seen.Once(d); err != nil {
				return err
			}
		}
		ahead := *d
		args := ahead.RemainingArgs()
		if least, most := option.arguments(); len(args) < least || len(args) > most {
			return line.ArgErr()
		}
		if option.parse != nil {
			if err := option.parse(to, d); err != nil {
				return err
			}
		} else {
			*d = ahead
			if err := option.set(to, args); err != nil {
				return line.WrapErr(err)
			}
		}
		if err := after(&line, args); err != nil {
			return err
		}
	}
	return nil
}

// storageOptions are those of the block storage.
var storageOptions = map[string]option[Storage]{
	"max_size":  size("max_size", func(s *Storage) *int64 { return &s.MaxSize }),
	"max_index": size("max_index", func(s *Storage) *int64 { return &s.MaxIndex }),
	"max_unused": {usage: "<duration>", set: func(s *Storage, args []string) (err error) {
		s.MaxUnused, err = parseDuration("max_unused", args[0], "d")
		return err
	}},
	"min_free": {usage: "<size>|<n>%", set: func(s *Storage, args []string) (err error) {
		if percent, ok := strings.CutSuffix(args[0], "%"); ok {
			s.MinFreePercent, err = strconv.ParseFloat(percent, 64)
			if err != nil || !(s.MinFreePercent > 0 && s.MinFreePercent < 100) {
				return fmt.Errorf("min_free: %q is no percentage: want such as 5%%", args[0])
			}
			return nil
		}
		if n, err := strconv.ParseFloat(args[0], 64); err == nil && n > 0 && n < 100 {
			return fmt.Errorf("min_free: %q has no unit: did you mean %s%% or %sGiB?", args[0], args[0], args[0])
		}
		return size("min_free", func(s *Storage) *int64 { return &s.MinFree }).set(s, args)
	}},
	"pin": {usage: "<image>...", repeats: true, set: func(s *Storage, args []string) error {
		s.Pin = append(s.Pin, args...)
		if err := each(checkPin, args); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
		return nil
	}},
}

// upstreamOptions are those of the block upstream.
var upstreamOptions = map[string]option[Upstream]{
	"alias":         list("<name>...", func(u *Upstream) *[]string { return &u.Alias }, nil), // names are checked when they are claimed
	"url":           list("<url>...", func(u *Upstream) *[]string { return &u.URL }, checkURL),
	"auth_origin":   list("<origin>...", func(u *Upstream) *[]string { return &u.AuthOrigin }, checkOrigin),
	"allow":         list("<glob>...", func(u *Upstream) *[]string { return &u.Allow }, oci.CheckGlob),
	"deny":          list("<glob>...", func(u *Upstream) *[]string { return &u.Deny }, oci.CheckGlob),
	"allow_address": list("<cidr>...", func(u *Upstream) *[]string { return &u.AllowAddress }, checkPrefix),
	"tls_ca": {usage: "<file>...", repeats: true, files: true, set: func(u *Upstream, args []string) error {
		u.TLSCA = append(u.TLSCA, args...)
		return nil
	}},
	"tls_client": {usage: "<certificate_file> <key_file>", files: true, set: func(u *Upstream, args []string) error {
		u.TLSClient = &TLSClient{Certificate: args[0], Key: args[1]}
		return nil
	}},
	"credentials": {usage: "<user>|<source> [{env.<NAME>}|{file.<path>}]", parse: func(u *Upstream, d *caddyfile.Dispenser) (err error) {
		u.Credentials, err = u.parseCredentials(d, "credentials")
		return err
	}},
	"insecure_credentials": toggle(func(u *Upstream) *bool { return &u.InsecureCredentials }),
	"proxy": {usage: "<url>", set: func(u *Upstream, args []string) error {
		u.Proxy = args[0]
		return checkProxy(args[0])
	}},
	"max_size": size("max_size", func(u *Upstream) *int64 { return &u.MaxSize }),
	"tag_ttl":  lasting("tag_ttl", func(u *Upstream) *caddy.Duration { return &u.TagTTL }),
	"immutable_tags": {usage: "<regexp>", set: func(u *Upstream, args []string) error {
		u.ImmutableTags = args[0]
		return checkRegexp(args[0])
	}},
	"access": {usage: "public|authenticated|<user>...", set: func(u *Upstream, args []string) error {
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
	"dial_timeout":            waiting("dial_timeout", func(u *Upstream) *caddy.Duration { return &u.DialTimeout }),
	"tls_timeout":             waiting("tls_timeout", func(u *Upstream) *caddy.Duration { return &u.TLSTimeout }),
	"token_timeout":           waiting("token_timeout", func(u *Upstream) *caddy.Duration { return &u.TokenTimeout }),
	"response_header_timeout": waiting("response_header_timeout", func(u *Upstream) *caddy.Duration { return &u.ResponseHeaderTimeout }),
	"read_timeout":            waiting("read_timeout", func(u *Upstream) *caddy.Duration { return &u.ReadTimeout }),
	"try_duration":            waiting("try_duration", func(u *Upstream) *caddy.Duration { return &u.TryDuration }),
	"stale_timeout":           waiting("stale_timeout", func(u *Upstream) *caddy.Duration { return &u.StaleTimeout }),
	"misses_per_client":       count(func(u *Upstream) *int { return &u.MissesPerClient }),
	"max_fails":               count(func(u *Upstream) *int { return &u.MaxFails }),
	"max_fills":               count(func(u *Upstream) *int { return &u.MaxFills }),
	"fail_duration":           waiting("fail_duration", func(u *Upstream) *caddy.Duration { return &u.FailDuration }),
	"stale_if_denied":         lasting("stale_if_denied", func(u *Upstream) *caddy.Duration { return &u.StaleIfDenied }),
	"stale_if_gone":           lasting("stale_if_gone", func(u *Upstream) *caddy.Duration { return &u.StaleIfGone }),
	"verify_ranges":           toggle(func(u *Upstream) *bool { return &u.VerifyRanges }),
	"parallel_download": {usage: "<n>", set: func(u *Upstream, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 1 || n > maxParallelDownload {
			return fmt.Errorf("parallel_download: %q is no number of connections: want 1 to %d", args[0], maxParallelDownload)
		}
		u.ParallelDownload = int(n)
		return nil
	}},
	"look_ahead": {usage: "<n>|off [<size>]", set: func(u *Upstream, args []string) error {
		if args[0] == "off" && len(args) == 1 {
			u.LookAhead = -1
			return nil
		}
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 1 {
			return fmt.Errorf("look_ahead: %q is no number of blobs: want such as 6, or off", args[0])
		}
		u.LookAhead = int(n)
		if len(args) == 1 {
			return nil
		}
		if u.LookAheadSize, err = operate.ParseSize(args[1]); err == nil && u.LookAheadSize == 0 {
			err = errors.New("0 bytes are none: write look_ahead off")
		}
		if err != nil {
			return fmt.Errorf("look_ahead: %w", err)
		}
		return nil
	}},
	"isolate": {usage: "[on|off]", set: func(u *Upstream, args []string) error {
		on := len(args) == 0 || args[0] == "on"
		if !on && args[0] != "off" {
			return fmt.Errorf("isolate %s is neither on nor off", args[0])
		}
		u.Isolate = &on
		return nil
	}},
	"proof_ttl": lasting("proof_ttl", func(u *Upstream) *caddy.Duration { return &u.ProofTTL }),
	"offline":   toggle(func(u *Upstream) *bool { return &u.Offline }),
	"stored_as": {usage: "<identity>", set: func(u *Upstream, args []string) error {
		u.StoredAs = args[0]
		return checkIdentity(u.Name, args[0])
	}},
}

// Misplaced says what may have been meant by an option that stands where only names do:
// one of these, or an option of a block within.
func Misplaced(name string, names ...string) string {
	_, ofUpstream := upstreamOptions[name]
	_, ofStorage := storageOptions[name]
	switch hint := nearest.Hint(name, names); {
	case hint != "":
		return hint
	case ofUpstream && slices.Contains(names, "upstream"):
		return " (it belongs into the block of an upstream)"
	case ofStorage && slices.Contains(names, "storage"):
		return " (it belongs into the block storage)"
	case name == "storage":
		return " (it belongs into the global option registry_mirror)"
	}
	return ""
}

// list is an option with any number of values, which add up.
func list[T any](usage string, field func(*T) *[]string, check func(string) error) option[T] {
	return option[T]{usage: usage, repeats: true, set: func(to *T, args []string) error {
		*field(to) = append(*field(to), args...)
		return each(check, args)
	}}
}

// toggle is an option without arguments.
func toggle[T any](field func(*T) *bool) option[T] {
	return option[T]{set: func(to *T, _ []string) error {
		*field(to) = true
		return nil
	}}
}

// size is an option with a number of bytes.
func size[T any](name string, field func(*T) *int64) option[T] {
	return option[T]{usage: "<size>", set: func(to *T, args []string) (err error) {
		if *field(to), err = operate.ParseSize(args[0]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	}}
}

// count is an option with a number; 0 = no limit, which is -1 in JSON.
func count[T any](field func(*T) *int) option[T] {
	return option[T]{usage: "<n>", set: func(to *T, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no number: want such as 5, or 0 for no limit", args[0])
		}
		if n == 0 {
			n = -1
		}
		*field(to) = int(n)
		return nil
	}}
}

// lasting is an option with a duration; 0 = not at all, or for ever, which is -1 in
// JSON.
func lasting[T any](name string, field func(*T) *caddy.Duration) option[T] {
	return option[T]{usage: "<duration>", set: func(to *T, args []string) (err error) {
		if *field(to), err = parseDuration(name, args[0], "m"); *field(to) == 0 {
			*field(to) = -1
		}
		return err
	}}
}

// waiting is an option with a duration that is not 0.
func waiting[T any](name string, field func(*T) *caddy.Duration) option[T] {
	return option[T]{usage: "<duration>", set: func(to *T, args []string) (err error) {
		if *field(to), err = parseDuration(name, args[0], "s"); err == nil && *field(to) == 0 {
			err = fmt.Errorf("%s: %q is no time to wait", name, args[0])
		}
		return err
	}}
}

// parseDuration parses the duration of an option. unit is the one that is likely if
// there is none.
func parseDuration(name, text, unit string) (caddy.Duration, error) {
	if n, err := strconv.ParseFloat(text, 64); err == nil && n > 0 {
		return 0, fmt.Errorf("%s: %q is a duration without a unit: did you mean %s%s?", name, text, text, unit)
	}
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s: %q is no duration: want such as 5m, 12h or 90d", name, text)
	}
	return caddy.Duration(d), nil
}
