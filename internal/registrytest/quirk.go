package registrytest

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Quirk is one way of a registry that others than the usual one have. Of a group,
// a registry has at most one.
type Quirk struct {
	Group, Name string

	apply func(*draft)
}

// String names the quirk.
func (q Quirk) String() string { return q.Group + ": " + q.Name }

// draft is a profile that is being made.
type draft struct {
	Profile

	// form writes a challenge. realm, service and the two scopes are what stands in it.
	form                                 func(realm, service, scope string) []string
	realm, service, pingScope, pullScope string
	pingOnly                             bool // nothing but the ping is challenged
}

// Breed makes a profile of a usual registry with the given quirks: it has tokens for
// one repository each, which are good for nothing if the client has no right.
func Breed(name string, quirks ...Quirk) Profile {
	d := &draft{form: quoted, realm: "{self}/token", service: "{host}", pullScope: "repository:{name}:pull"}
	d.Name = name
	d.Auth.Tokens = &Tokens{Path: "/token", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 300 * time.Second}
	d.Tags.Link = `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`
	for _, q := range quirks {
		q.apply(d)
	}
	if d.Auth.Tokens != nil {
		pull := d.form(d.realm, d.service, d.pullScope)
		d.Auth.Ping = unauthorized(d.form(d.realm, d.service, d.pingScope)...)
		d.Auth.Pull = unauthorized(pull...)
		if d.pingOnly && d.Auth.Tokens.Realm == "" {
			d.Auth.Pull = unauthorized()
		}
		d.Auth.Stale = d.Auth.Stale.or(d.Auth.Pull)
		d.Auth.Denied = d.Auth.Denied.or(d.Auth.Pull)
	}
	return d.Profile
}

// quoted is the usual form of a challenge.
func quoted(realm, service, scope string) []string {
	return join(`%s="%s"`, "Bearer ", ",", realm, service, scope)
}

func join(format, scheme, comma, realm, service, scope string) []string {
	var parts []string
	for i, value := range []string{realm, service, scope} {
		if value != "" {
			parts = append(parts, fmt.Sprintf(format, []string{"realm", "service", "scope"}[i], value))
		}
	}
	return []string{scheme + strings.Join(parts, comma)}
}

// Quirks returns all of them, those of a group one after the other. An earlier group
// is applied before a later one.
func Quirks() []Quirk {
	var all []Quirk
	for _, group := range []struct {
		name   string
		quirks []Quirk
	}{
		{"challenge", challengeQuirks()},
		{"scope", scopeQuirks()},
		{"realm", realmQuirks()},
		{"token", tokenQuirks()},
		{"refusal", refusalQuirks()},
		{"access", accessQuirks()},
		{"head", headQuirks()},
		{"header", headerQuirks()},
		{"redirect", redirectQuirks()},
		{"list", listQuirks()},
		{"referrers", referrersQuirks()},
		{"limit", limitQuirks()},
	} {
		for _, q := range group.quirks {
			q.Group = group.name
			all = append(all, q)
		}
	}
	return all
}

func challengeQuirks() []Quirk {
	form := func(name string, f func(realm, service, scope string) []string) Quirk {
		return Quirk{Name: name, apply: func(d *draft) { d.form = f }}
	}
	written := func(name, format, scheme, comma string) Quirk {
		return form(name, func(realm, service, scope string) []string { return join(format, scheme, comma, realm, service, scope) })
	}
	basic := `Basic realm="registry"`
	return []Quirk{
		written("spaces", `%s="%s"`, "Bearer ", ", "),
		written("unquoted", `%s=%s`, "Bearer ", ", "),
		written("lower case", `%s="%s"`, "bearer ", ","),
		written("upper case", `%s="%s"`, "BEARER ", ","),
		written("space before equals", `%s = "%s"`, "Bearer  ", " , "),
		form("Basic after Bearer", func(realm, service, scope string) []string { return append(quoted(realm, service, scope), basic) }),
		form("Basic before Bearer", func(realm, service, scope string) []string {
			return append([]string{basic}, quoted(realm, service, scope)...)
		}),
		form("both in one header", func(realm, service, scope string) []string {
			return []string{basic + ", " + quoted(realm, service, scope)[0]}
		}),
		form("Negotiate and Basic before Bearer", func(realm, service, scope string) []string {
			return append([]string{"Negotiate", `Basic realm="a, b", charset="UTF-8"`}, quoted(realm, service, scope)...)
		}),
		form("a realm that gives nothing before it", func(realm, service, scope string) []string {
			return append(quoted("{token}/nothing", service, scope), quoted(realm, service, scope)...)
		}),
		form("the realm at the end", func(realm, service, scope string) []string {
			return []string{`Bearer error="",` + strings.TrimPrefix(quoted("", service, scope)[0], "Bearer ") + `,realm="` + realm + `",`}
		}),
		form("an error, too", func(realm, service, scope string) []string {
			return []string{quoted(realm, service, scope)[0] + `,error="invalid_token"`}
		}),
	}
}

func scopeQuirks() []Quirk {
	set := func(name string, apply func(*draft)) Quirk { return Quirk{Name: name, apply: apply} }
	return []Quirk{
		set("none", func(d *draft) { d.pullScope = "" }),
		set("placeholder on the ping", func(d *draft) { d.pingScope = "repository:user/image:pull" }),
		set("a repository of the account on the ping", func(d *draft) { d.pingScope = "repository:closed/app:pull" }),
		set("a word for everything", func(d *draft) { d.pingScope, d.pullScope, d.Auth.Tokens.Unbound = "aws", "aws", true }),
		set("star for everything", func(d *draft) { d.pullScope, d.Auth.Tokens.Unbound = "repository:*:pull", true }),
		set("a bare star", func(d *draft) { d.pingScope, d.pullScope, d.Auth.Tokens.Unbound = "*", "*", true }),
		set("a prefix", func(d *draft) {
			d.pullScope = "repository:inner/{name}:pull"
			d.Auth.Tokens.Name = func(_ *visit, name string) string { return strings.TrimPrefix(name, "inner/") }
		}),
		set("no challenge but on the ping", func(d *draft) { d.pingOnly = true }),
		set("more than pull", func(d *draft) { d.pullScope = "repository:{name}:pull,push,delete" }),
		set("no service", func(d *draft) { d.service = "" }),
		set("a service with spaces", func(d *draft) { d.service = "Some Registry"; d.form = quoted }),
	}
}

func realmQuirks() []Quirk {
	return []Quirk{
		{Name: "another host", apply: func(d *draft) { d.realm, d.Auth.Tokens.Host = "{token}/token", HostToken }},
		{Name: "one for each first component", apply: func(d *draft) {
			d.realm, d.Auth.Tokens.Path, d.Auth.Tokens.Realm = "{self}/keys/{key}/token", "/token", "/keys/"
		}},
		{Name: "other realm for tokens that are refused", apply: func(d *draft) {
			d.Auth.Stale = unauthorized(`Bearer realm="{token}/nothing",service="other",scope="repository:{name}:pull"`)
			d.Auth.Denied = d.Auth.Stale
		}},
		{Name: "a path that says /v2/", apply: func(d *draft) { d.realm, d.Auth.Tokens.Path = "{self}/v2/token", "/v2/token" }},
	}
}

func tokenQuirks() []Quirk {
	answers := []string{
		`{"token":"{value}"}`, `{"access_token":"{value}"}`, `{"token":"{value}","access_token":""}`, `{"token":"","access_token":"{value}"}`,
		`{"token":"{value}","access_token":"{value}","expires_in":{life},"issued_at":"{utc}"}`,
		`{"token":"{value}","expires_in":{life},"issued_at":"{local}"}`, `{"token":"{value}","expires_in":"{life}"}`,
		`{"token":"{value}","expires_in":0}`, `{"token":"{value}","expires_in":null,"issued_at":null}`, `{"token":"{value}","expires_in":3e2}`,
		`{"token":"{value}","access_token":null,"expires_in":-1}`, `{"token":null,"access_token":"{value}","expires_in":true}`,
		` {"token": "{value}", "expires_in": 1e99, "issued_at": 1767225600, "token_type": "Bearer"} `,
		`{"token":"{value}","expires_in":300.5,"issued_at":"yesterday","refresh_token":"x","scope":"y"}`,
	}
	var quirks []Quirk
	for _, answer := range answers {
		quirks = append(quirks, Quirk{Name: answer, apply: func(d *draft) { d.Auth.Tokens.Answer = answer }})
	}
	return quirks
}

func refusalQuirks() []Quirk {
	denied := problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	byServer := func(status int) func(*draft) {
		r := problem(status, "DENIED", "access forbidden")
		return func(d *draft) { d.Auth.Tokens.Refused, d.Auth.Tokens.Denied = r, r }
	}
	byRegistry := func(r Reply) func(*draft) { return func(d *draft) { d.Auth.Denied = r } }
	return []Quirk{
		{Name: "403 of the token server", apply: byServer(http.StatusForbidden)},
		{Name: "401 of the token server", apply: byServer(http.StatusUnauthorized)},
		{Name: "404 of the token server for what is missing", apply: func(d *draft) {
			byServer(http.StatusForbidden)(d)
			d.Auth.HidesMissing, d.Auth.Tokens.Unknown = true, problem(http.StatusNotFound, "NAME_UNKNOWN", "Repository not found")
		}},
		{Name: "403 of the registry", apply: byRegistry(denied)},
		{Name: "401 with another scheme", apply: byRegistry(unauthorized(`Basic realm="registry"`))},
		{Name: "401 without a challenge", apply: byRegistry(unauthorized())},
		{Name: "401 with an empty challenge", apply: byRegistry(unauthorized(""))},
		{Name: "missing and refused alike", apply: func(d *draft) { d.Auth.HidesMissing = true }},
	}
}

func accessQuirks() []Quirk {
	return []Quirk{
		{Name: "no token for what is public", apply: func(d *draft) { d.Auth.Open = true }},
		{Name: "nor for the ping", apply: func(d *draft) { d.Auth.Open, d.Auth.OpenPing = true, true }},
		{Name: "user and password, too", apply: func(d *draft) { d.Auth.Basic = true }},
		{Name: "user and password only", apply: func(d *draft) {
			challenge := unauthorized(`BASIC realm="registry"`)
			d.Auth = Authority{Basic: true, Open: true, Pull: challenge}
		}},
		{Name: "nobody is asked", apply: func(d *draft) { d.Auth = Authority{} }},
		{Name: "no ping", apply: func(d *draft) {
			d.pingOnly = false
			d.First = append(d.First, say(match{Kind: "ping"}, Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found"}))
		}},
	}
}
