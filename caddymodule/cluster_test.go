package caddymodule

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/pullgate/pullgate/caddymodule/s3"
)

const fleetSecret = "0123456789abcdef0123456789abcdef"

// TestClusterExample adapts and validates the Caddyfile that fleets begin with.
func TestClusterExample(t *testing.T) {
	home(t)
	for name, value := range map[string]string{"S3_KEY": "key", "S3_SECRET": "hush", "FLEET_SECRET": fleetSecret} {
		t.Setenv(name, value)
	}
	raw, err := os.ReadFile("../Caddyfile.cluster.example")
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(raw); !bytes.Equal(formatted, raw) {
		t.Errorf("is not formatted; caddy fmt makes it\n%s", formatted)
	}
	text, ok := adapted(t, string(raw))
	if !ok {
		t.Fatal(text)
	}
	var config *caddy.Config
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(config); err != nil {
		t.Error(err)
	}
}
