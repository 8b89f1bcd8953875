package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

func TestEncodeAroundTheMirror(t *testing.T) {
	for name, test := range map[string]struct {
		sites string
		warns bool
	}{
		"none":            {"http://:%[1]s {\n registry_mirror docker.io\n}", false},
		"around it":       {"http://:%[1]s {\n encode gzip\n registry_mirror docker.io\n}", true},
		"in a handle":     {"http://:%[1]s {\n handle /v2/* {\n  encode zstd gzip\n  registry_mirror docker.io\n }\n}", true},
		"around a handle": {"http://:%[1]s {\n encode\n handle /v2/* {\n  registry_mirror docker.io\n }\n}", true},
		"around a route":  {"http://:%[1]s {\n route {\n  encode\n  registry_mirror docker.io\n }\n}", true},
		"after it":        {"http://:%[1]s {\n route {\n  registry_mirror docker.io\n  encode\n }\n}", false},
		"beside it":       {"http://:%[1]s {\n handle /v2/* {\n  registry_mirror docker.io\n }\n handle {\n  encode\n  respond hello\n }\n}", false},
		"before it":       {"http://:%[1]s {\n handle /pages/* {\n  encode\n }\n handle {\n  registry_mirror docker.io\n }\n}", false},
		"with a matcher":  {"http://:%[1]s {\n @pages not path /v2/*\n encode @pages gzip\n registry_mirror docker.io\n}", false},
		"of another site": {"http://a.test:%[1]s {\n encode\n}\nhttp://b.test:%[1]s {\n registry_mirror docker.io\n}", false},
		"of its own site": {"http://a.test:%[1]s {\n respond hello\n}\nhttp://b.test:%[1]s {\n encode\n registry_mirror docker.io\n}", true},
	} {
		t.Run(name, func(t *testing.T) {
			home(t)
			text := "{\n admin off\n registry_mirror {\n  storage " + t.TempDir() + "\n }\n}\n" + fmt.Sprintf(test.sites, "5000")
			raw, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
			if err != nil {
				t.Fatal(err)
			}
			var config caddy.Config
			if err := json.Unmarshal(raw, &config); err != nil {
				t.Fatal(err)
			}
			ctx, err := caddy.ProvisionContext(&config)
			if err != nil {
				t.Fatal(err)
			}
			value, err := ctx.App("registry_mirror")
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			servers := value.(*App).run.servers
			warnOfEncode(servers, slog.New(slog.NewTextHandler(&b, nil)))
			if len(servers) != 1 || strings.Contains(b.String(), "encode stands around registry_mirror") != test.warns {
				t.Errorf("%d servers, log: %s", len(servers), &b)
			}
		})
	}
}
