package caddymodule

import (
	"testing"

	"github.com/pullgate/pullgate/caddymodule/config"
)

// Clients are sent to the bucket only for what everybody may have, and only where the
// configuration says so.
func TestUpstreamsThatRedirect(t *testing.T) {
	on, off := true, false
	with := &service{app: &appRun{bucket: &sharedBucket{redirect: new(config.Redirect)}}}
	for name, c := range map[string]struct {
		upstream config.Upstream
		want     bool
	}{
		"public":          {config.Upstream{}, true},
		"isolated":        {config.Upstream{Sharing: config.Sharing{Isolate: &on}}, false},
		"private address": {config.Upstream{Endpoint: config.Endpoint{URL: []string{"http://10.0.0.1"}}}, false},
		"not isolated":    {config.Upstream{Endpoint: config.Endpoint{URL: []string{"http://10.0.0.1"}}, Sharing: config.Sharing{Isolate: &off}}, true},
		"restricted":      {config.Upstream{Sharing: config.Sharing{Isolate: &off}, Admission: config.Admission{Access: new(config.Access)}}, false},
		"credentials": {config.Upstream{
			Sharing: config.Sharing{Isolate: &off}, Endpoint: config.Endpoint{Credentials: &config.Credentials{Provider: "ecr"}},
			Admission: config.Admission{Access: &config.Access{Public: true}},
		}, false},
		"stored as": {config.Upstream{Sharing: config.Sharing{Isolate: &off}, CacheOnly: config.CacheOnly{Offline: true, StoredAs: "docker.io#1f0c5d2a9b7e"}, Admission: config.Admission{Access: &config.Access{Public: true}}}, false},
	} {
		c.upstream.Name = "docker.io"
		if got := with.redirects(&c.upstream); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		for _, without := range []*service{{app: &appRun{}}, {app: &appRun{bucket: new(sharedBucket)}}} {
			if without.redirects(&c.upstream) {
				t.Errorf("%s: it does where nobody wants that", name)
			}
		}
	}
}
