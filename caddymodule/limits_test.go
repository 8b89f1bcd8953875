package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Two sites share the limit of an upstream; one may leave it out, but two limits
// are an error.
func TestUpstreamLimitsOfSites(t *testing.T) {
	home(t)
	for name, c := range map[string]struct{ one, other, problem string }{
		"equal":    {"max_size 1GiB", "max_size 1GiB", ""},
		"left out": {"tag_ttl 0", "max_size 1GiB", ""},
		"two":      {"max_size 1GiB", "max_size 2GiB", "bytes at another site"},
	} {
		t.Run(name, func(t *testing.T) {
			site := func(port, option string) string {
				return ":" + port + " {\n\tregistry_mirror {\n\t\tupstream docker.io {\n\t\t\t" + option + "\n\t\t}\n\t}\n}\n"
			}
			text, ok := adapted(t, site("5001", c.one)+site("5002", c.other))
			if !ok {
				t.Fatal(text)
			}
			var config *caddy.Config
			if err := json.Unmarshal([]byte(text), &config); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(config)
			if c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
				t.Errorf("got %v, want %q", err, c.problem)
			}
		})
	}
}
