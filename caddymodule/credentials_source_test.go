package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/pullgate/pullgate/caddymodule/credentials"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/acr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/ecr"
	_ "github.com/pullgate/pullgate/caddymodule/credentials/google"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

func init() { caddy.RegisterModule(testSource{}) }

// testSource is a source with options.
type testSource struct {
	User   string `json:"user,omitempty"`
	Secret string `json:"secret,omitempty"`

	password string
}

func (testSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "registry_mirror.credentials.test", New: func() caddy.Module { return new(testSource) }}
}

func (s *testSource) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	for d.NextBlock(0) {
		switch d.Val() {
		case "user":
			d.AllArgs(&s.User)
		case "secret":
			d.AllArgs(&s.Secret)
		default:
			return d.Errf("unrecognized subdirective '%s' of test", d.Val())
		}
	}
	return nil
}

func (s *testSource) Provision(caddy.Context) (err error) {
	s.password, err = caddy.NewReplacer().ReplaceOrErr(s.Secret, true, true)
	return err
}

func (s *testSource) Login(context.Context, string) (credentials.Login, error) {
	return credentials.Login{Username: s.User, Password: s.password}, nil
}

// TestSourceWithOptions pulls as who a source of another module says, for the upstream
// and for one URL.
func TestSourceWithOptions(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "secret"})
	image := r.PutImage("private/image", "1", 2, 10)
	t.Setenv("SECRET", "secret")
	const block = "credentials test {\nuser u\nsecret {env.SECRET}\n}\n"
	s := newSite(t)
	for name, options := range map[string]string{
		"upstream": "url " + r.URL() + "\n" + block + "tag_ttl 0\n",
		"one URL":  "url " + r.URL() + " {\n" + block + "insecure_credentials\n}\ntag_ttl 0\n",
	} {
		r.Reset()
		s.load("registry_mirror {\nupstream registry.corp {\n" + options + "access public\n}\n}")
		response, body := s.client().get("/v2/proxy-registry.corp/private/image/manifests/" + image.Tag)
		if response.StatusCode != http.StatusOK || usersOf(r.Requests()) != "u" {
			t.Errorf("%s: %s as %q: %s", name, response.Status, usersOf(r.Requests()), body)
		}
	}
}

// TestSourceInConfiguration: an unknown option, or a secret that is missing, is refused
// with its place.
func TestSourceInConfiguration(t *testing.T) {
	for options, want := range map[string]string{
		"credentials test {\nuser u\ncolour red\n}":                "unrecognized subdirective 'colour' of test, at Caddyfile:6",
		"credentials ecr {\nregion eu\n}":                          "credentials ecr has no options, at Caddyfile:4",
		"credentials test {\nuser u\n}\ncredentials docker_config": "credentials is already set at Caddyfile:4, at Caddyfile:7",
		"credentials test {\nuser u\n}\ntag_ttl 1h": `"credentials": {
										"provider": "test",
										"user": "u"
									},`,
		"credentials test {\nsecret {env.NO}\n}\ntag_ttl 1h": `"origin": {
										"credentials": "Caddyfile:4"
									}`,
		"url https://a.corp {\ncredentials test {\nuser u\n}\ninsecure_credentials\n}": `"https://a.corp": {
											"insecure_credentials": true,
											"provider": "test",
											"user": "u"
										}`,
	} {
		input := "http://localhost {\nregistry_mirror {\nupstream registry.corp {\n" + options + "\n}\n}\n}\n"
		got, _ := adapted(t, string(caddyfile.Format([]byte(input))))
		if !strings.Contains(plainSpace(got), plainSpace(want)) {
			t.Errorf("%s: adapts to\n%s\nwant\n%s", options, got, want)
		}
	}
	u := Upstream{Name: "registry.corp", Origin: map[string]string{"credentials": "Caddyfile:4"}}
	if err := json.Unmarshal([]byte(`{"credentials":{"provider":"test","secret":"{env.NO}"}}`), &u); err != nil {
		t.Fatal(err)
	}
	if err := loaded(&u); err == nil || !strings.Contains(err.Error(), "upstream registry.corp: credentials: ") || !strings.HasSuffix(err.Error(), "at Caddyfile:4") {
		t.Errorf("a secret is missing: %v", err)
	}
}

func plainSpace(s string) string { return strings.Join(strings.Fields(s), " ") }

// loaded provisions an upstream and its sources.
func loaded(u *Upstream) error {
	if err := u.provision(); err != nil {
		return err
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	return u.loadSources(ctx)
}

// TestSourceOfCommand: an upstream that was provisioned and not loaded is that of a command.
func TestSourceOfCommand(t *testing.T) {
	r := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "secret"})
	image := r.PutImage("private/image", "1", 2, 10)
	t.Setenv("SECRET", "secret")
	for raw, want := range map[string]oci.Class{
		`{"provider":"test","user":"u","secret":"{env.SECRET}"}`: oci.ClassNone,
		`{"provider":"test","user":"u","secret":"{env.NO}"}`:     oci.ClassToken,
	} {
		u := Upstream{Name: "registry.corp", URL: []string{r.URL()}}
		if err := json.Unmarshal([]byte(raw), &u.Credentials); err != nil {
			t.Fatal(err)
		}
		if err := u.provision(); err != nil {
			t.Fatal(err)
		}
		client, err := upstream.New(u.options())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Manifest(t.Context(), "private/image", oci.Reference{Tag: image.Tag}); oci.ClassOf(err) != want {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// TestSourcesTell: other options are another identity, and another secret another
// client. A source without options is what it was before there were any.
func TestSourcesTell(t *testing.T) {
	tell := func(raw string) (identity, fingerprint string) {
		t.Helper()
		u := Upstream{Name: "registry.corp"}
		if err := json.Unmarshal([]byte(raw), &u.Credentials); err != nil {
			t.Fatal(err)
		}
		if err := loaded(&u); err != nil {
			t.Fatal(err)
		}
		return u.identity(), u.fingerprint()
	}
	t.Setenv("SECRET", "one")
	identity, fingerprint := tell(`{"provider": "test", "user": "u", "secret": "{env.SECRET}"}`)
	if same, equal := tell(`{"secret":"{env.SECRET}","user":"u","provider":"test"}`); same != identity || equal != fingerprint {
		t.Error("the order of the options makes a difference")
	}
	if other, _ := tell(`{"provider": "test", "user": "v", "secret": "{env.SECRET}"}`); other == identity {
		t.Error("other options, same identity")
	}
	t.Setenv("SECRET", "two")
	if same, other := tell(`{"provider": "test", "user": "u", "secret": "{env.SECRET}"}`); same != identity || other == fingerprint {
		t.Error("a new secret is a new client, and no new identity")
	}
	if got, _ := tell(`{"provider": "ecr"}`); got != "registry.corp#a72663d44770" {
		t.Errorf("the identity of a source without options has become %s", got)
	}
}

// TestCredentialsInJSON: what is written is what is read, and nothing else is.
func TestCredentialsInJSON(t *testing.T) {
	for raw, want := range map[string]string{
		`{"username":"u","password":"{env.P}"}`:                      "",
		`{"provider":"ecr"}`:                                         "",
		`{"provider":"test","user":"u"}`:                             "",
		`{"username":"u","passwort":"{env.P}"}`:                      `unknown field "passwort"`,
		`{"provider":1}`:                                             "cannot unmarshal",
		`{"provider":"test","user":"u","insecure_credentials":true}`: "",
		`{"username":"u","insecure_credentials":true}`:               "",
		`{"insecure_credentials":true}`:                              "",
		`{"insecure_credentials":"yes"}`:                             "insecure_credentials: ",
	} {
		var c any = new(Credentials)
		if strings.Contains(raw, "insecure") {
			c = new(URLCredentials)
		}
		err := json.Unmarshal([]byte(raw), c)
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", raw, err, want)
			}
			continue
		}
		written, _ := json.Marshal(c)
		if err != nil || !equalJSON(raw, string(written)) {
			t.Errorf("%s is written as %s: %v", raw, written, err)
		}
	}
	if err := loaded(&Upstream{Name: "registry.corp", Credentials: &Credentials{Provider: "ecr", SourceRaw: []byte(`{"provider":"ecr","username":"u"}`)}}); err == nil ||
		!strings.Contains(err.Error(), `unknown field "username"`) {
		t.Errorf("an option of no source: %v", err)
	}
}

func equalJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}
