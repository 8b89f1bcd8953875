package caddymodule

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
		"other URL":          {u: Upstream{Name: "docker.io", URL: []string{"https://mirror.gcr.io"}}},
		"credentials":        {Upstream{Name: "ghcr.io", Credentials: &Credentials{Provider: "ecr"}, Access: &Access{Public: true}}, true},
		"client certificate": {Upstream{Name: "ghcr.io", TLSClient: &TLSClient{}, Access: &Access{Public: true}}, true},
		"users":              {Upstream{Name: "ghcr.io", Access: &Access{Users: []string{"eve"}}}, true},
		"authenticated":      {Upstream{Name: "ghcr.io", Access: &Access{}}, true},
		"private address":    {Upstream{Name: "corp", URL: []string{"https://10.1.2.3:8443"}}, true},
		"second URL":         {Upstream{Name: "corp", URL: []string{"https://corp", "http://[::1]:5000"}}, true},
		"mapped address":     {Upstream{Name: "corp", URL: []string{"http://[::ffff:192.168.1.1]"}}, true},
		"localhost":          {Upstream{Name: "corp", URL: []string{"http://localhost:5000"}}, true},
		"private name":       {Upstream{Name: "192.168.0.7:5000"}, true},
		"off":                {Upstream{Name: "corp", URL: []string{"http://127.0.0.1"}, Sharing: Sharing{Isolate: &no}, Access: &Access{}}, false},
		"on":                 {Upstream{Name: "docker.io", Sharing: Sharing{Isolate: &yes}}, true},
	} {
		want := time.Duration(0)
		if test.isolated {
			want = 30 * 24 * time.Hour
		}
		if got := test.u.isolated(); got != test.isolated || test.u.proofTTL() != want {
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
