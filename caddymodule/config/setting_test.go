package config

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Settings tell what is in force, and no secret.
func TestSettings(t *testing.T) {
	off := false
	u := &Upstream{
		Name: "harbor.corp", Endpoint: Endpoint{URL: []string{"https://a", "https://b"}, Credentials: &Credentials{Username: "robot", Password: "{env.SECRET}"}},
		MaxSize: 3 << 30, Tags: Tags{TagTTL: -1, ImmutableTags: "v.*"}, Admission: Admission{Access: &Access{Users: []string{"alice", "bob"}}, Allow: []string{"a/**", "b"}},
		Connection: Connection{Proxy: "http://user:hidden@proxy:3128", TLSClient: &TLSClient{"cert", "key"}}, Timeouts: Timeouts{DialTimeout: caddy.Duration(5e9)},
		Sharing: Sharing{Isolate: &off}, CacheOnly: CacheOnly{Offline: true}, MissesPerClient: -1, Origin: map[string]string{"url": "Caddyfile:3"},
	}
	told := map[string]string{}
	for _, s := range Settings(u) {
		told[s.Name] = s.Value
		if s.Default {
			t.Errorf("%s is called a default", s.Name)
		}
	}
	want := map[string]string{
		"url": "https://a https://b", "access": "alice bob", "credentials": "user and password", "tag_ttl": "0", "immutable_tags": "v.*", "max_size": "3.0 GiB",
		"allow": "a/** b", "proxy": "http://proxy:3128", "tls_client": "set", "dial_timeout": "5s", "isolate": "false", "offline": "true", "misses_per_client": "off",
	}
	if fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("settings are\n%v, want\n%v", told, want)
	}
	raw, err := json.Marshal(Settings(u))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"robot", "SECRET", "hidden", "Caddyfile"} {
		if strings.Contains(string(raw), secret) {
			t.Errorf("%s is told: %s", secret, raw)
		}
	}
	defaults := Settings(&Upstream{Name: "docker.io"})
	if len(defaults) != 4 || defaults[0].Value != "https://registry-1.docker.io" || defaults[1].Value != "public" || defaults[3].Value != "5m" {
		t.Errorf("defaults are %+v", defaults)
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{5 * time.Minute: "5m", 30 * time.Hour: "30h", 90 * time.Second: "1m30s", 10 * time.Second: "10s", time.Hour + time.Second: "1h0m1s", 100 * time.Minute: "1h40m"} {
		if got := shortDuration(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

func TestAdmits(t *testing.T) {
	guarded := Endpoint{Credentials: &Credentials{Username: "u", Password: "{env.P}"}}
	for name, test := range map[string]struct {
		upstream Upstream
		users    string // of nobody (-), alice and bob
	}{
		"plain":         {Upstream{}, "- alice bob"},
		"guarded":       {Upstream{Endpoint: guarded}, "alice bob"},
		"public":        {Upstream{Endpoint: guarded, Admission: Admission{Access: &Access{Public: true}}}, "- alice bob"},
		"authenticated": {Upstream{Admission: Admission{Access: &Access{}}}, "alice bob"},
		"one":           {Upstream{Admission: Admission{Access: &Access{Users: []string{"alice"}}}}, "alice"},
	} {
		for _, user := range []string{"", "alice", "bob"} {
			spelled := user
			if user == "" {
				spelled = "-"
			}
			if admits := test.upstream.Access.Admits(user, test.upstream.Guarded()); admits != strings.Contains(test.users, spelled) {
				t.Errorf("%s: %q is admitted: %v", name, user, admits)
			}
		}
	}
}
