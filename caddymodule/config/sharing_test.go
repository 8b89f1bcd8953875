package config

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestIsolation(t *testing.T) {
	yes, no := true, false
	for name, test := range map[string]struct {
		u        Upstream
		isolated bool
	}{
		"public":             {u: Upstream{Name: "docker.io"}},
		"other URL":          {u: Upstream{Name: "docker.io", Endpoint: Endpoint{URL: []string{"https://mirror.gcr.io"}}}},
		"credentials":        {Upstream{Name: "ghcr.io", Endpoint: Endpoint{Credentials: &Credentials{Provider: "ecr"}}, Admission: Admission{Access: &Access{Public: true}}}, true},
		"client certificate": {Upstream{Name: "ghcr.io", Connection: Connection{TLSClient: &TLSClient{}}, Admission: Admission{Access: &Access{Public: true}}}, true},
		"users":              {Upstream{Name: "ghcr.io", Admission: Admission{Access: &Access{Users: []string{"eve"}}}}, true},
		"authenticated":      {Upstream{Name: "ghcr.io", Admission: Admission{Access: &Access{}}}, true},
		"private address":    {Upstream{Name: "corp", Endpoint: Endpoint{URL: []string{"https://10.1.2.3:8443"}}}, true},
		"second URL":         {Upstream{Name: "corp", Endpoint: Endpoint{URL: []string{"https://corp", "http://[::1]:5000"}}}, true},
		"mapped address":     {Upstream{Name: "corp", Endpoint: Endpoint{URL: []string{"http://[::ffff:192.168.1.1]"}}}, true},
		"localhost":          {Upstream{Name: "corp", Endpoint: Endpoint{URL: []string{"http://localhost:5000"}}}, true},
		"private name":       {Upstream{Name: "192.168.0.7:5000"}, true},
		"off":                {Upstream{Name: "corp", Endpoint: Endpoint{URL: []string{"http://127.0.0.1"}}, Sharing: Sharing{Isolate: &no}, Admission: Admission{Access: &Access{}}}, false},
		"on":                 {Upstream{Name: "docker.io", Sharing: Sharing{Isolate: &yes}}, true},
	} {
		want := time.Duration(0)
		if test.isolated {
			want = 30 * 24 * time.Hour
		}
		// A registry on this machine itself is no reason to mark bundles.
		loopback := name == "second URL" || name == "localhost"
		if got := test.u.MarkedInBundles(); got != (test.isolated && !loopback) {
			t.Errorf("%s: marked in bundles %v", name, got)
		}
		if got := test.u.Isolated(); got != test.isolated || test.u.proofTTL() != want {
			t.Errorf("%s: isolated %v, proofs for %s", name, got, test.u.proofTTL())
		}
	}
	for _, u := range []Upstream{
		{Name: "docker.io", Sharing: Sharing{Isolate: &yes, ProofTTL: -1}}, {Name: "docker.io"},
	} {
		if got := u.proofTTL(); got != 0 {
			t.Errorf("%+v: proofs for %s", u.Sharing, got)
		}
	}
	u := Upstream{Name: "docker.io", Sharing: Sharing{ProofTTL: caddy.Duration(time.Hour)}}
	if got := u.proofTTL(); got != time.Hour {
		t.Errorf("proofs for %s", got)
	}
}
