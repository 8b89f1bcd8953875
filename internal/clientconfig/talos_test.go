package clientconfig_test

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// The documents as the reference of Talos 1.12 lists their fields.
// See https://docs.siderolabs.com/talos/v1.12/reference/configuration/cri.
type (
	registryMirrorConfig struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Name       string `yaml:"name"`
		Endpoints  []struct {
			URL          string `yaml:"url"`
			OverridePath bool   `yaml:"overridePath"`
		} `yaml:"endpoints"`
		SkipFallback bool `yaml:"skipFallback"`
	}
	registryAuthConfig struct {
		APIVersion    string `yaml:"apiVersion"`
		Kind          string `yaml:"kind"`
		Name          string `yaml:"name"`
		Username      string `yaml:"username"`
		Password      string `yaml:"password"`
		Auth          string `yaml:"auth"`
		IdentityToken string `yaml:"identityToken"`
	}
	registryTLSConfig struct {
		APIVersion     string `yaml:"apiVersion"`
		Kind           string `yaml:"kind"`
		Name           string `yaml:"name"`
		ClientIdentity struct {
			Cert string `yaml:"cert"`
			Key  string `yaml:"key"`
		} `yaml:"clientIdentity"`
		CA                 string `yaml:"ca"`
		InsecureSkipVerify bool   `yaml:"insecureSkipVerify"`
	}
)

// machineRegistries is machine.registries as the reference of Talos 1.11 lists it.
type machineRegistries struct {
	Machine struct {
		Registries struct {
			Mirrors map[string]struct {
				Endpoints    []string `yaml:"endpoints"`
				OverridePath bool     `yaml:"overridePath"`
				SkipFallback bool     `yaml:"skipFallback"`
			} `yaml:"mirrors"`
			Config map[string]struct {
				TLS struct {
					ClientIdentity struct {
						Crt []byte `yaml:"crt"`
						Key []byte `yaml:"key"`
					} `yaml:"clientIdentity"`
					CA                 string `yaml:"ca"` // base64
					InsecureSkipVerify bool   `yaml:"insecureSkipVerify"`
				} `yaml:"tls"`
				Auth struct {
					Username      string `yaml:"username"`
					Password      string `yaml:"password"`
					Auth          string `yaml:"auth"`
					IdentityToken string `yaml:"identityToken"`
				} `yaml:"auth"`
			} `yaml:"config"`
		} `yaml:"registries"`
	} `yaml:"machine"`
}

// Talos refuses a document with a field that it does not know.
func TestTalosFieldsAreDocumented(t *testing.T) {
	for _, o := range options(t) {
		if o.MachineConfig {
			checkTalosPatch(t, o)
		} else {
			checkTalosDocuments(t, o)
		}
	}
}

func checkTalosPatch(t *testing.T, o clientconfig.Options) {
	t.Helper()
	documents := talosDocuments(t, o)
	var patch machineRegistries
	strictly(t, documents[0], &patch)
	r := patch.Machine.Registries
	if len(documents) != 1 || len(r.Mirrors) != len(o.Upstreams) || len(r.Config) != 1 {
		t.Fatalf("want one patch of %d mirrors and one host:\n%s", len(o.Upstreams), documents)
	}
	host := r.Config[o.Endpoint.Host]
	authority, err := base64.StdEncoding.DecodeString(host.TLS.CA)
	if err != nil || !bytes.Equal(authority, o.Authority) || host.Auth.Username != o.Username || host.Auth.Password != o.Password {
		t.Errorf("%s: %+v (%v)", o.Endpoint.Host, host, err)
	}
	for name, mirror := range r.Mirrors {
		if len(mirror.Endpoints) != 1 || mirror.OverridePath == o.ByNamespace || mirror.SkipFallback != o.SkipFallback {
			t.Errorf("%s: %+v", name, mirror)
		}
	}
}

func checkTalosDocuments(t *testing.T, o clientconfig.Options) {
	t.Helper()
	mirrors := 0
	for _, raw := range talosDocuments(t, o) {
		var head map[string]any
		if err := yaml.Unmarshal(raw, &head); err != nil {
			t.Fatal(err)
		}
		if head["apiVersion"] != "v1alpha1" {
			t.Errorf("apiVersion %v, want v1alpha1:\n%s", head["apiVersion"], raw)
		}
		var good bool
		switch head["kind"] {
		case "RegistryMirrorConfig":
			var d registryMirrorConfig
			strictly(t, raw, &d)
			good = d.Name != "" && len(d.Endpoints) == 1 && d.Endpoints[0].OverridePath != o.ByNamespace && d.SkipFallback == o.SkipFallback
			mirrors++
		case "RegistryAuthConfig":
			var d registryAuthConfig
			strictly(t, raw, &d)
			good = d.Name == o.Endpoint.Host && d.Username == o.Username && d.Password == o.Password
		case "RegistryTLSConfig":
			var d registryTLSConfig
			strictly(t, raw, &d)
			good = d.Name == o.Endpoint.Host && d.CA == strings.TrimSpace(string(o.Authority))
		}
		if !good {
			t.Errorf("not what was asked for, skip_fallback=%t ns=%t:\n%s", o.SkipFallback, o.ByNamespace, raw)
		}
	}
	if want := len(o.Upstreams); mirrors != want && !o.ByNamespace {
		t.Errorf("%d mirrors, want %d", mirrors, want)
	}
}

// talosDocuments returns the documents of the only file for Talos.
func talosDocuments(t *testing.T, o clientconfig.Options) [][]byte {
	t.Helper()
	for _, client := range clientconfig.Clients() {
		if client.Name != "talos" {
			continue
		}
		files, err := client.Files(o)
		if err != nil || len(files) != 1 {
			t.Fatalf("%d files (%v), want one", len(files), err)
		}
		return bytes.Split(bytes.TrimSpace(files[0].Content), []byte("\n---\n"))
	}
	t.Fatal("talos is no client")
	return nil
}

// strictly decodes a document of which every field must be known.
func strictly(t *testing.T, raw []byte, into any) {
	t.Helper()
	d := yaml.NewDecoder(bytes.NewReader(raw))
	d.KnownFields(true)
	if err := d.Decode(into); err != nil {
		t.Errorf("%v:\n%s", err, raw)
	}
}
