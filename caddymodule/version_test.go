package caddymodule

import (
	"runtime/debug"
	"testing"
)

// The binary has the version that it was built with, and a plugin that of its module.
func TestVersion(t *testing.T) {
	t.Parallel()
	us := debug.Module{Path: modulePath, Version: "(devel)"}
	plugin := debug.Module{Path: modulePath, Version: "v1.2.3"}
	caddy := debug.Module{Path: "caddy", Version: "(devel)"}
	for name, test := range map[string]struct {
		info         debug.BuildInfo
		custom, want string
	}{
		"release":         {debug.BuildInfo{Main: us}, "v1.0.0", "v1.0.0"},
		"go build":        {debug.BuildInfo{Main: us}, "", "devel"},
		"plugin":          {debug.BuildInfo{Main: caddy, Deps: []*debug.Module{&plugin}}, "v2.0.0", "v1.2.3"},
		"replaced plugin": {debug.BuildInfo{Main: caddy, Deps: []*debug.Module{{Path: modulePath, Version: "v1.2.3", Replace: &us}}}, "", "devel"},
		"neither":         {debug.BuildInfo{Main: caddy}, "v2.0.0", "unknown"},
	} {
		if got := versionIn(&test.info, test.custom); got != test.want {
			t.Errorf("%s: version %s, want %s", name, got, test.want)
		}
	}
}
