package caddymodule

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/rogpeppe/go-internal/testscript"

	_ "github.com/pullgate/pullgate/caddymodule/s3" // as in pullgate
)

// TestMain makes the test binary the command pullgate in scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pullgate": func() {
			caddy.CustomBinaryName = "pullgate"
			caddycmd.Main()
		},
		"peak": printPeak,
	})
}
