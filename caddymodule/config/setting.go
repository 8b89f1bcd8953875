package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/internal/operate"
)

// Settings returns the options of an upstream that are in force: first those that matter
// everywhere, with their defaults, then all others that are set. Of credentials it tells
// the kind only.
func Settings(u *Upstream) []operate.Setting {
	access, tagTTL := "authenticated", shortDuration(time.Duration(u.TagTTL))
	switch {
	case u.Everybody():
		access = "public"
	case u.Access != nil && len(u.Access.Users) > 0:
		access = strings.Join(u.Access.Users, " ")
	}
	switch u.TagTTL {
	case 0:
		tagTTL = shortDuration(defaultTagTTL)
	case -1:
		tagTTL = "0"
	}
	login := "none"
	switch c := u.Credentials; {
	case c != nil && c.Provider != "":
		login = c.Provider
	case c != nil:
		login = "user and password"
	}
	return append([]operate.Setting{
		{Name: "url", Value: strings.Join(u.urls(), " "), Default: len(u.URL) == 0},
		{Name: "access", Value: access, Default: u.Access == nil},
		{Name: "credentials", Value: login, Default: u.Credentials == nil},
		{Name: "tag_ttl", Value: tagTTL, Default: u.TagTTL == 0},
	}, furtherSettings(*u)...)
}

// furtherSettings returns the options that are set and that Settings has not told.
func furtherSettings(plain Upstream) (settings []operate.Setting) {
	plain.Proxy = withoutUser(plain.Proxy)
	plain.Credentials, plain.Access, plain.URL, plain.TagTTL, plain.Origin, plain.Name = nil, nil, nil, 0, nil, ""
	raw, err := json.Marshal(plain)
	if err != nil {
		return nil
	}
	var set map[string]any
	_ = json.Unmarshal(raw, &set) // it was written just now
	for _, name := range []string{
		"alias", "offline", "stored_as", "allow", "deny", "immutable_tags", "max_size", "isolate", "proof_ttl", "proxy", "tls_ca", "tls_client",
		"auth_origin", "allow_address", "insecure_credentials", "misses_per_client", "max_fills", "max_fails", "fail_duration", "try_duration",
		"stale_timeout", "stale_if_denied", "stale_if_gone", "dial_timeout", "tls_timeout", "token_timeout", "response_header_timeout", "read_timeout",
		"verify_ranges", "parallel_download", "look_ahead", "look_ahead_size",
	} {
		if value, ok := set[name]; ok {
			settings = append(settings, operate.Setting{Name: name, Value: settingText(name, value)})
		}
	}
	return settings
}

// settingText returns the value of an option, as far as it is for people.
func settingText(name string, value any) string {
	switch v := value.(type) {
	case []any:
		words := make([]string, len(v))
		for i := range v {
			words[i] = fmt.Sprint(v[i])
		}
		return strings.Join(words, " ")
	case map[string]any:
		return "set"
	case float64:
		switch {
		case v == -1:
			return "off"
		case strings.HasSuffix(name, "_timeout") || strings.HasSuffix(name, "_duration") || strings.HasSuffix(name, "_ttl") || strings.HasPrefix(name, "stale_"):
			return shortDuration(time.Duration(v))
		case strings.HasSuffix(name, "size"):
			return humanize.IBytes(uint64(max(v, 0)))
		}
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprint(value)
}

// shortDuration returns a duration without the units of which there are none.
func shortDuration(d time.Duration) string {
	text := d.String()
	if short, ok := strings.CutSuffix(text, "m0s"); ok {
		text = short + "m"
	}
	if short, ok := strings.CutSuffix(text, "h0m"); ok {
		text = short + "h"
	}
	return text
}

// withoutUser returns a URL without user and password. A placeholder stays one.
func withoutUser(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil {
		return text
	}
	u.User = nil
	return u.String()
}
