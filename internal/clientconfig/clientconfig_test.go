package clientconfig_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

var update = flag.Bool("update", false, "write the golden files anew")

// authority is a certificate of nobody: only its form counts here.
func authority(t *testing.T) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func endpoint(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// options are what the golden files show, in this order.
func options(t *testing.T) []clientconfig.Options {
	upstreams := []string{"docker.io", "registry.k8s.io"}
	plain := clientconfig.Options{Endpoint: endpoint(t, "http://gate:5000"), Upstreams: upstreams}
	secured := clientconfig.Options{
		Endpoint: endpoint(t, "https://mirror.example.com:5443/"), Upstreams: upstreams, Authority: authority(t),
	}
	user := secured
	user.Username, user.Password, user.SkipFallback = "talos", `s3cr"t: \ #'`, true
	namespace := plain
	namespace.ByNamespace = true
	machine := user
	machine.MachineConfig = true
	return []clientconfig.Options{plain, secured, user, namespace, machine}
}

func TestGolden(t *testing.T) {
	for _, client := range clientconfig.Clients() {
		t.Run(client.Name, func(t *testing.T) {
			var out bytes.Buffer
			for n, o := range options(t) {
				fmt.Fprintf(&out, "== %d: %s user=%q skip_fallback=%t ns=%t machine_config=%t\n",
					n+1, o.Endpoint, o.Username, o.SkipFallback, o.ByNamespace, o.MachineConfig)
				files, err := client.Files(o)
				if err != nil {
					fmt.Fprintf(&out, "error: %v\n", err)
					continue
				}
				for _, step := range client.Steps(o) {
					fmt.Fprintf(&out, "step: %s\n", step)
				}
				for _, f := range files {
					fmt.Fprintf(&out, "-- %s secret=%t\n%s", f.Path, f.Secret, f.Content)
					parses(t, f)
					if !f.Secret && bytes.Contains(f.Content, []byte("s3cr")) {
						t.Errorf("%s holds the password and is not marked", f.Path)
					}
				}
			}
			golden := filepath.Join("testdata", client.Name+".golden")
			if *update {
				if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), out.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// parses checks that a file is what its name says.
func parses(t *testing.T, f clientconfig.File) {
	t.Helper()
	var err error
	switch filepath.Ext(f.Path) {
	case ".json":
		err = json.Unmarshal(f.Content, new(any))
	case ".toml", ".conf":
		err = toml.Unmarshal(f.Content, new(any))
	case ".yaml":
		d := yaml.NewDecoder(bytes.NewReader(f.Content))
		for document := map[string]any{}; err == nil; {
			err = d.Decode(&document)
		}
		if err.Error() == "EOF" {
			err = nil
		}
	case ".crt":
		if !bytes.HasPrefix(f.Content, []byte("-----BEGIN CERTIFICATE-----\n")) {
			err = fmt.Errorf("no certificate: %.40q", f.Content)
		}
	default:
		err = fmt.Errorf("unknown kind of file")
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", f.Path, err, f.Content)
	}
	if !bytes.HasSuffix(f.Content, []byte("\n")) {
		t.Errorf("%s does not end its last line", f.Path)
	}
}

// A password survives the quoting of every format.
func TestPasswordIsQuoted(t *testing.T) {
	o := options(t)[2]
	o.SkipFallback = false
	for _, client := range clientconfig.Clients() {
		files, err := client.Files(o)
		if err != nil {
			continue // it cannot log in
		}
		for _, f := range files {
			if !f.Secret || filepath.Ext(f.Path) != ".yaml" {
				continue
			}
			var found bool
			d := yaml.NewDecoder(bytes.NewReader(f.Content))
			for {
				var document any
				if d.Decode(&document) != nil {
					break
				}
				found = found || holds(document, o.Password)
			}
			if !found {
				t.Errorf("%s: %s does not hold the password", client.Name, f.Path)
			}
		}
	}
}

func holds(v any, s string) bool {
	switch v := v.(type) {
	case string:
		return v == s
	case map[string]any:
		for _, e := range v {
			if holds(e, s) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if holds(e, s) {
				return true
			}
		}
	}
	return false
}

func TestOptionsAreChecked(t *testing.T) {
	good := options(t)[1]
	for name, spoil := range map[string]func(*clientconfig.Options){
		"endpoint: want http":             func(o *clientconfig.Options) { o.Endpoint = nil },
		"want http:// or https://":        func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "ftp", Host: "gate"} },
		"and nothing more":                func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "https", Host: "gate", Path: "/v2"} },
		"no upstream":                     func(o *clientconfig.Options) { o.Upstreams = nil },
		"want the host of a":              func(o *clientconfig.Options) { o.Upstreams = []string{"docker.io/library"} },
		"a user needs a password":         func(o *clientconfig.Options) { o.Username = "talos" },
		"cannot hold a colon":             func(o *clientconfig.Options) { o.Username, o.Password = "a:b", "c" },
		"needs an endpoint with":          func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "http", Host: "gate"} },
		"no certificate in PEM":           func(o *clientconfig.Options) { o.Authority = []byte("nothing") },
		"hold a line break":               func(o *clientconfig.Options) { o.Username, o.Password = "a", "b\nc" },
		"a password a user":               func(o *clientconfig.Options) { o.Password = "c" },
		"99999 is no port":                func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "https", Host: "gate:99999"} },
		"an address with a zone":          func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "https", Host: "[fe80::1%eth0]"} },
		"want the host as DNS spells it":  func(o *clientconfig.Options) { o.Endpoint = &url.URL{Scheme: "https", Host: "gåte:5000"} },
		"if harbor is the gateway's name": func(o *clientconfig.Options) { o.Upstreams = []string{"harbor"} },
		"host in lower case":              func(o *clientconfig.Options) { o.Upstreams = []string{"GHCR.io"} },
		"leave =hub out": func(o *clientconfig.Options) {
			o.ByNamespace, o.Names = true, map[string]string{"docker.io": "hub"}
		},
		"\"a/b\" is no name of an upstream": func(o *clientconfig.Options) { o.Names = map[string]string{"docker.io": "a/b"} },
		"images name Docker Hub docker.io":  func(o *clientconfig.Options) { o.Upstreams = []string{"registry-1.docker.io"} },
		"such as docker.io":                 func(o *clientconfig.Options) { o.Upstreams = []string{"docker.io", ""} },
		"endpoint https://a:xxxxx@g": func(o *clientconfig.Options) {
			o.Endpoint = &url.URL{Scheme: "https", Host: "g", User: url.UserPassword("a", "b")}
		},
	} {
		for _, client := range clientconfig.Clients() {
			o := good
			spoil(&o)
			if _, err := client.Files(o); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: error %v, want %q", client.Name, err, name)
			}
		}
	}
}
