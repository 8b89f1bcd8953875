package auth

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
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
	for _, test := range []struct{ scope, want string }{
		{"", ""},
		{"repository:hub/a/b:pull", ""}, // what is built for the repository anyway
		{"repository:a/b:pull", "repository:a/b:pull"},
		{"repository:hub/a/b:pull,push", "repository:hub/a/b:pull,push"},
		{"aws", "aws"},
		{"repository:*:pull", "repository:*:pull"},
		{strings.Repeat("x", 5000), "none"},
	} {
		header := http.Header{"Www-Authenticate": {`Bearer realm="r",scope="` + test.scope + `"`}}
		found := offeredFor("hub/a/b", &wire.Answer{Response: &http.Response{Header: header}})
		got := "none"
		if len(found) > 0 {
			got = found[0].scope
		}
		if got != test.want {
			t.Errorf("scope %q becomes %q, want %q", test.scope, got, test.want)
		}
		of := offeredForPing(&wire.Answer{Response: &http.Response{Header: header}})
		if len(of) > 0 && of[0].scope != "" && of[0].scope != "aws" && of[0].scope != "repository:*:pull" {
			t.Errorf("scope %q of a ping is kept", of[0].scope)
		}
	}
}

func TestChallengesOfRepositories(t *testing.T) {
	a, b, c := challenge{schemeBearer, "a", "", ""}, challenge{schemeBearer, "b", "", ""}, challenge{schemeBearer, "c", "", ""}
	named := challenge{schemeBearer, "a", "", "repository:other:pull"}
	word := challenge{schemeBearer, "a", "", "aws"}
	for name, test := range map[string]struct {
		learn map[string]challenge // in the order of the names
		want  map[string]challenge
	}{
		"one for all":             {map[string]challenge{"x": a}, map[string]challenge{"x": a, "y": a, "z/1": a}},
		"a word for all":          {map[string]challenge{"x": word}, map[string]challenge{"y": word}},
		"a name for one":          {map[string]challenge{"x": named}, map[string]challenge{"x": named, "y": {}}},
		"a realm for each group":  {map[string]challenge{"k1/x": a, "k2/x": b}, map[string]challenge{"k1/y": a, "k2/y": b, "k3/x": a}},
		"one that differs":        {map[string]challenge{"x": a, "y": {}}, map[string]challenge{"x": a, "y": {}, "z": a}},
		"one that moves for all":  {map[string]challenge{"a": a, "b": b, "c": b, "d": b}, map[string]challenge{"z": b}},
		"several that differ":     {map[string]challenge{"a": a, "b": b, "c": a, "d": c}, map[string]challenge{"z": a}},
		"nothing at first, later": {map[string]challenge{"a": {}, "b": a}, map[string]challenge{"a": {}, "b": a, "z": {}}},
	} {
		var m challenges
		if _, known := m.of("x"); known {
			t.Errorf("%s: something is known at first", name)
		}
		for _, repository := range slices.Sorted(maps.Keys(test.learn)) {
			m.learn(repository, test.learn[repository])
		}
		for repository, want := range test.want {
			if got, known := m.of(repository); got != want || !known {
				t.Errorf("%s: %s is asked with %+v, want %+v", name, repository, got, want)
			}
		}
	}
	var m challenges
	for k := range 2 * maxChallenges {
		m.learn(fmt.Sprintf("r%d", k), challenge{schemeBearer, fmt.Sprint(k), "", ""})
	}
	if len(m.own) > maxChallenges {
		t.Errorf("%d are remembered", len(m.own))
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
		for _, c := range challengesIn([]string{header}) {
			if c.scheme != schemeBasic && (c.scheme != schemeBearer || c.realm == "") {
				t.Errorf("%q parses to %+v", header, c)
			}
		}
	})
}

func TestChallengesIn(t *testing.T) {
	bearer := func(realm, service, scope string) challenge { return challenge{schemeBearer, realm, service, scope} }
	basic := challenge{scheme: schemeBasic}
	for _, test := range []struct {
		headers []string
		want    []challenge
	}{
		{
			[]string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`},
			[]challenge{bearer("https://a/t", "s", "repository:a:pull,push")},
		},
		{[]string{`bearer Realm=https://a/t?x=1, SERVICE = "a\"b"`}, []challenge{bearer("https://a/t?x=1", `a"b`, "")}},
		{
			[]string{`Bearer realm=https://cp.icr.io/oauth/token, service=registry, scope=repository:a/b:pull`},
			[]challenge{bearer("https://cp.icr.io/oauth/token", "registry", "repository:a/b:pull")},
		},
		{
			[]string{`Bearer realm="https://a/auth",service="Oracle Registry"`},
			[]challenge{bearer("https://a/auth", "Oracle Registry", "")},
		},
		{[]string{`Negotiate`, `Basic realm="r"`}, []challenge{basic}},
		{[]string{`BASIC realm="r"`}, []challenge{basic}},
		{[]string{`Negotiate abc==, Basic realm="r", Bearer realm="b"`}, []challenge{bearer("b", "", ""), basic}},
		{[]string{`Basic realm="r"`, `Bearer service="x"`}, []challenge{basic}},
		{[]string{`Bearer realm="a",realm="b"`}, []challenge{bearer("a", "", "")}},
		{[]string{`Bearer realm="a"`, `Bearer realm="b"`}, []challenge{bearer("a", "", ""), bearer("b", "", "")}},
		{[]string{`Digest realm="r"`}, nil},
		{[]string{``, `realm="r"`, `"Bearer"`}, nil},
		{nil, nil},
	} {
		if got := challengesIn(test.headers); !slices.Equal(got, test.want) {
			t.Errorf("%q: %+v", test.headers, got)
		}
	}
}

func TestParseRealm(t *testing.T) {
	for _, test := range []struct{ of, realm, want string }{
		{"https://r.test/v2/", "https://auth.test/token?a=b", "https://auth.test/token?a=b"},
		{"https://r.test/v2/", "http://auth.test/token", "http://auth.test/token"}, // which is refused
		{"https://r.test:5002/v2/", "https://r.test:5002:5002/v2/token", "https://r.test:5002/v2/token"},
		{"https://r.test:5005/v2/", "null://r.test:5005/v2/token", "https://r.test:5005/v2/token"},
		{"https://r.test/v2/", "http://r.test:443/v2/token", "https://r.test/v2/token"},
		{"http://r.test/v2/", "http://r.test/v2/token", "http://r.test/v2/token"},
		{"https://r.test/v2/", "/token?x=y", "/token?x=y"}, // which is refused
		{"https://r.test/v2/", "null://evil.test/token", "null://evil.test/token"},
		{"https://r.test/v2/", "https://evil.test:1:2/token", ""},
	} {
		of, err := url.Parse(test.of)
		if err != nil {
			t.Fatal(err)
		}
		got, err := parseRealm(test.realm, of)
		if (err == nil) != (test.want != "") || err == nil && got.String() != test.want {
			t.Errorf("%s of %s: %v, %v", test.realm, test.of, got, err)
		}
	}
}
