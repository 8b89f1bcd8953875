package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestCheckURLCredentials is about JSON, which no parser of Caddyfiles has seen.
func TestCheckURLCredentials(t *testing.T) {
	t.Setenv("PASSWORD", "secret")
	const secret = `"username": "u", "password": "{env.PASSWORD}"`
	for options, want := range map[string]string{
		`"credentials": {` + secret + `}`:                                                                                                   "",
		`"credentials": {` + secret + `}, "url": ["https://a", "http://b"]`:                                                                 "",
		`"url_credentials": {"https://hub.corp": {` + secret + `}}`:                                                                         "", // the default URL
		`"url": ["https://a"], "url_credentials": {"https://a": {"provider": "ecr"}}`:                                                       "",
		`"url": ["https://a"], "url_credentials": {"https://a/": {` + secret + `}}`:                                                         `"https://a/" is not among the URLs`,
		`"url": ["https://a"], "url_credentials": {"https://a": null}`:                                                                      "has neither credentials nor insecure_credentials",
		`"url": ["https://a"], "url_credentials": {"https://a": {}}`:                                                                        "has neither credentials nor insecure_credentials",
		`"url": ["https://a"], "url_credentials": {"https://a": {"username": "u"}}`:                                                         "url https://a: credentials need a user name and a password",
		`"url": ["https://a"], "url_credentials": {"https://a": {"username": "u", "password": "p"}}`:                                        "literal password",
		`"url": ["https://a"], "url_credentials": {"https://a": {"provider": "vault"}}`:                                                     "unknown provider",
		`"url": ["https://a"], "url_credentials": {"https://a": {"username": "u", "password": "{env.NO_SUCH}"}}`:                            "credentials of https://a: ",
		`"url": ["http://a"], "credentials": {` + secret + `}`:                                                                              "http://a without TLS, where others can read them: use https, or allow it with insecure_credentials",
		`"url": ["http://a"], "credentials": {` + secret + `}, "insecure_credentials": true`:                                                "",
		`"url": ["http://127.0.0.1:5000"], "credentials": {` + secret + `}`:                                                                 "",
		`"url": ["https://a", "http://b"], "url_credentials": {"http://b": {` + secret + `}}`:                                               "http://b without TLS",
		`"url": ["https://a", "http://b"], "credentials": {"provider": "docker_config"}`:                                                    "http://b without TLS",
		`"url": ["http://b"], "url_credentials": {"http://b": {` + secret + `, "insecure_credentials": true}}`:                              "",
		`"url": ["http://b"], "credentials": {` + secret + `}, "url_credentials": {"http://b": {"insecure_credentials": true}}`:             "",
		`"url": ["http://a", "http://b"], "credentials": {` + secret + `}, "url_credentials": {"http://b": {"insecure_credentials": true}}`: "http://a without TLS",
	} {
		var u Upstream
		if err := json.Unmarshal([]byte(`{"name": "hub.corp", `+options+`}`), &u); err != nil {
			t.Fatal(options, err)
		}
		err := u.Provision()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the password", options)
		}
	}
}

// TestURLCredentialsTell: who may see other content is another identity, and who sends
// another password another client.
func TestURLCredentialsTell(t *testing.T) {
	t.Setenv("A", "secret-a")
	t.Setenv("B", "secret-b")
	provisioned := func(own map[string]*URLCredentials) *Upstream {
		t.Helper()
		u := &Upstream{Name: "hub.corp", Endpoint: Endpoint{URL: []string{"https://hub.corp", "https://copy.corp"}, URLCredentials: own}}
		if err := u.Provision(); err != nil {
			t.Fatal(err)
		}
		return u
	}
	as := func(user, password string) *URLCredentials {
		return &URLCredentials{Credentials: Credentials{Username: user, Password: fmt.Sprintf("{env.%s}", password)}}
	}
	nobody, a := provisioned(nil), provisioned(map[string]*URLCredentials{"https://copy.corp": as("a", "A")})
	newPassword := provisioned(map[string]*URLCredentials{"https://copy.corp": as("a", "B")})
	b := provisioned(map[string]*URLCredentials{"https://copy.corp": as("b", "A")})
	elsewhere := provisioned(map[string]*URLCredentials{"https://hub.corp": as("a", "A")})
	if a.Identity() != newPassword.Identity() || a.Fingerprint() == newPassword.Fingerprint() {
		t.Error("a new password is a new client, and no new identity")
	}
	identities := []string{nobody.Identity(), a.Identity(), b.Identity(), elsewhere.Identity()}
	slices.Sort(identities)
	if len(slices.Compact(slices.Clone(identities))) != len(identities) {
		t.Errorf("different content, same identity: %v", identities)
	}
	if nobody.authenticates() || !a.authenticates() {
		t.Error("credentials of a URL are credentials of the upstream")
	}
}
