package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata/adapt")

const tenDashes = "\n----------\n"

// TestAdapt compares what Caddyfiles become with what their files say: JSON, or
// the text of the error. Whatever adapts is also provisioned and validated.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatal("no test data:", err)
	}
	home(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(raw), tenDashes)
			want = strings.TrimSpace(want)
			got, valid := adapted(t, input)
			if *update {
				if err := os.WriteFile(file, []byte(input+tenDashes+got+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			} else if got != want {
				t.Errorf("adapts to\n%s\nwant\n%s", got, want)
			}
			if !valid {
				return
			}
			t.Setenv("HUB_USER", "user")
			t.Setenv("HUB_TOKEN", "token")
			t.Setenv("FLEET_SECRET", fleetSecret)
			var config *caddy.Config
			if err := json.Unmarshal([]byte(got), &config); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(config); err != nil {
				t.Errorf("does not validate: %v", err)
			}
		})
	}
}

// adapted returns the JSON of a Caddyfile, or its error and false.
func adapted(t testing.TB, input string) (string, bool) {
	t.Helper()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	raw, warnings, err := adapter.Adapt([]byte(input), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error(), false
	}
	for _, w := range warnings {
		t.Errorf("warning: %v", w)
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, raw, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return pretty.String(), true
}
