package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// FuzzCaddyfile parses the directive and the global option. What the parser of the
// directive takes, the checks of the configuration take too.
func FuzzCaddyfile(f *testing.F) {
	seeds, err := filepath.Glob("testdata/adapt/*")
	if err != nil || len(seeds) == 0 {
		f.Fatal(seeds, err)
	}
	for _, name := range seeds {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		config, _, _ := strings.Cut(string(raw), "\n----------\n")
		for part := range strings.SplitSeq(config, "\tregistry_mirror") {
			f.Add("registry_mirror" + part)
		}
	}
	f.Fuzz(func(t *testing.T, config string) {
		tokens, err := caddyfile.Tokenize([]byte(config), "Caddyfile")
		if err != nil {
			return
		}
		_ = new(App).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
		h := new(Handler)
		if h.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)) != nil {
			return
		}
		for _, u := range h.Upstreams {
			if err := u.Check(); err != nil {
				t.Errorf("upstream %q: %v", u.Name, err)
			}
		}
		if err := h.Validate(); err != nil {
			t.Error(err)
		}
	})
}
