package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPasswordIsForItsURL pulls what only the second URL has, and looks at who saw
// which password.
func TestPasswordIsForItsURL(t *testing.T) {
	first := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "one", Password: "first-secret"})
	second := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "two", Password: "second-secret"})
	image := second.PutImage("private/image", "1", 2, 10)
	t.Setenv("FIRST", "first-secret")
	t.Setenv("SECOND", "second-secret")
	s := newSite(t)
	for _, test := range []struct {
		name, options string
		first, second string // users that they saw
		pulls         bool
	}{
		{"one for all", "url {first} {second}\ncredentials one {env.FIRST}", "one", "", false},
		{"each its own", "url {first} {\ncredentials one {env.FIRST}\n}\nurl {second} {\ncredentials two {env.SECOND}\n}", "one", "two", true},
		{"one for all, and one's own", "url {first}\nurl {second} {\ncredentials two {env.SECOND}\n}\ncredentials one {env.FIRST}", "one", "two", true},
		{"only the second", "url {first}\nurl {second} {\ncredentials two {env.SECOND}\n}", "", "two", true},
	} {
		options := strings.NewReplacer("{first}", first.URL(), "{second}", second.URL()).Replace(test.options)
		s.load("registry_mirror {\nupstream registry.corp {\n" + options + "\naccess public\n}\n}")
		before := [2]int{len(first.Requests()), len(second.Requests())}
		response, body := s.client().get("/v2/proxy-registry.corp/private/image/manifests/" + image.Tag)
		if pulls := response.StatusCode == http.StatusOK; pulls != test.pulls {
			t.Errorf("%s: %s: %s", test.name, response.Status, body)
		}
		for i, upstream := range []*registrytest.Server{first, second} {
			requests := upstream.Requests()[before[i]:]
			if want := []string{test.first, test.second}[i]; len(requests) == 0 || usersOf(requests) != want {
				t.Errorf("%s: URL %d saw %q in %d requests, want %q", test.name, i, usersOf(requests), len(requests), want)
			}
		}
	}
}

// usersOf returns the users that requests named.
func usersOf(requests []registrytest.Request) string {
	var users []string
	for _, r := range requests {
		if user, _, ok := (&http.Request{Header: r.Header}).BasicAuth(); ok {
			users = append(users, user)
		}
	}
	slices.Sort(users)
	return strings.Join(slices.Compact(users), ",")
}

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
		err := u.provision()
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
		u := &Upstream{Name: "hub.corp", URL: []string{"https://hub.corp", "https://copy.corp"}, URLCredentials: own}
		if err := u.provision(); err != nil {
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
	if a.identity() != newPassword.identity() || a.fingerprint() == newPassword.fingerprint() {
		t.Error("a new password is a new client, and no new identity")
	}
	identities := []string{nobody.identity(), a.identity(), b.identity(), elsewhere.identity()}
	slices.Sort(identities)
	if len(slices.Compact(slices.Clone(identities))) != len(identities) {
		t.Errorf("different content, same identity: %v", identities)
	}
	if nobody.authenticates() || !a.authenticates() {
		t.Error("credentials of a URL are credentials of the upstream")
	}
}
