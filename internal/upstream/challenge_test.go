package upstream

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

func TestReadToken(t *testing.T) {
	for _, test := range []struct {
		expires int
		good    time.Duration
	}{
		{0, 48 * time.Second},
		{-1, 48 * time.Second},
		{10, 48 * time.Second},
		{60, 48 * time.Second},
		{300, 240 * time.Second},
		{3600, 48 * time.Minute},
		{1 << 60, 48 * time.Minute},
	} {
		_, good, err := readToken(&transport.Token{Token: "x", ExpiresIn: test.expires})
		if err != nil || good != test.good {
			t.Errorf("expires_in %d: used for %v, want %v (%v)", test.expires, good, test.good, err)
		}
	}
}

func TestScopes(t *testing.T) {
	e, err := newEndpoint(mustURL(t, "https://a/v2/hub"), Options{Timeouts: Timeouts{}.WithDefaults(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ scope, want string }{
		{"", "repository:hub/c/d:pull"},
		{"repository:a/b:pull", "repository:c/d:pull"},
		{"repository:hub/a/b:pull", "repository:hub/c/d:pull"},
		{"repository:a/b:pull,push", "repository:c/d:pull,push"},
		{"repository:a/b:pull repository:hub/a/b:pull", "repository:c/d:pull repository:hub/a/b:pull"},
		{"aws", "aws"},
		{"registry:catalog:*", "registry:catalog:*"},
		{strings.Repeat("x", 5000), "repository:hub/c/d:pull"},
	} {
		k := e.learnFrom(transport.Challenge{Parameters: map[string]string{"scope": test.scope}}, "a/b")
		if got := strings.Join(k.scopes("c/d"), " "); got != test.want {
			t.Errorf("scope %q becomes %q, want %q", test.scope, got, test.want)
		}
	}
}

func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"token":"a","expires_in":300}`, `{"access_token":"a"}`, `{}`, `[]`, `{"token":"\r\n"}`, `{"token":1}`, "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		var token transport.Token
		if json.Unmarshal([]byte(body), &token) != nil {
			return
		}
		value, good, err := readToken(&token)
		if err != nil {
			return
		}
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("token %q", value)
		}
		if good < minTokenLife*4/5 || good > maxTokenLife*4/5 {
			t.Errorf("good for %v", good)
		}
	})
}

func FuzzChallenge(f *testing.F) {
	for _, seed := range []string{
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"`,
		`Basic realm="x"`, `Negotiate, Basic realm="a\"b", Bearer realm=https://a/b`, `Negotiate abc==`, `Bearer realm="`,
		`,,,`, `=`, `Bearer realm="a" , error="invalid_token"`, "\x00\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		c, ok := parseChallenge([]string{header})
		if ok && c.Scheme != schemeBasic && (c.Scheme != schemeBearer || c.Parameters["realm"] == "") {
			t.Errorf("%q parses to %+v", header, c)
		}
	})
}

func TestParseChallenge(t *testing.T) {
	for _, test := range []struct {
		headers []string
		scheme  string
		want    map[string]string
	}{
		{
			[]string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`},
			schemeBearer,
			map[string]string{"realm": "https://a/t", "service": "s", "scope": "repository:a:pull,push"},
		},
		{
			[]string{`bearer Realm=https://a/t?x=1, SERVICE = "a\"b"`},
			schemeBearer,
			map[string]string{"realm": "https://a/t?x=1", "service": `a"b`},
		},
		{[]string{`Negotiate`, `Basic realm="r"`}, schemeBasic, map[string]string{"realm": "r"}},
		{[]string{`Negotiate abc==, Basic realm="r", Bearer realm="b"`}, schemeBearer, map[string]string{"realm": "b"}},
		{[]string{`Basic realm="r"`, `Bearer service="x"`}, schemeBasic, map[string]string{"realm": "r"}},
		{[]string{`Bearer realm="a",realm="b"`}, schemeBearer, map[string]string{"realm": "a"}},
		{[]string{`Digest realm="r"`}, "", nil},
		{[]string{``, `realm="r"`, `"Bearer"`}, "", nil},
		{nil, "", nil},
	} {
		c, ok := parseChallenge(test.headers)
		if ok != (test.scheme != "") || c.Scheme != test.scheme || fmt.Sprint(c.Parameters) != fmt.Sprint(test.want) {
			t.Errorf("%q: %+v", test.headers, c)
		}
	}
}
