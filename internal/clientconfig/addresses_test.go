package clientconfig_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/pelletier/go-toml/v2"
	"go.yaml.in/yaml/v3"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// pulled is where a client asks for library/alpine:3 of a registry.
type pulled map[string]string

// reads returns where a client that has the files goes, by the registry that an
// image name begins with: the whole URL of the manifest, as the client makes it.
func reads(t *testing.T, client string, o clientconfig.Options, files []clientconfig.File) pulled {
	t.Helper()
	at := pulled{}
	for _, f := range files {
		switch filepath.Base(f.Path) {
		case "hosts.toml":
			readHosts(t, f, files, at)
		case "daemon.json":
			readDaemon(t, f, at)
		case "50-pullgate.conf":
			if !strings.Contains(f.Path, "crio.conf.d") {
				readContainers(t, f, at)
			}
		case "buildkitd.toml":
			readBuildkit(t, f, at)
		case "registries.yaml":
			readK3s(t, client, f, files, at)
		case "pullgate.yaml":
			if client == "talos" {
				readTalos(t, o, at)
			}
		}
	}
	return at
}

const (
	repository = "library/alpine"
	manifest   = "/" + repository + "/manifests/3"
)

// readHosts reads as core/remotes/docker/config/hosts.go of containerd does.
func readHosts(t *testing.T, f clientconfig.File, files []clientconfig.File, at pulled) {
	t.Helper()
	var conf struct {
		Host map[string]struct {
			OverridePath bool   `toml:"override_path"`
			CA           string `toml:"ca"`
		} `toml:"host"`
	}
	decodes(t, f, toml.Unmarshal(f.Content, &conf))
	if len(conf.Host) != 1 {
		t.Fatalf("%s has %d hosts, want one", f.Path, len(conf.Host))
	}
	for address, host := range conf.Host {
		if host.CA != "" && !there(files, path.Join(path.Dir(f.Path), host.CA)) {
			t.Errorf("%s names the certificate %s, which is not there", f.Path, host.CA)
		}
		u := parsesURL(t, address)
		if !host.OverridePath {
			u.Path += "/v2"
		}
		at[path.Base(path.Dir(f.Path))] = u.String() + manifest
	}
}

// readDaemon reads as the graph driver's image store of a Docker daemon does.
func readDaemon(t *testing.T, f clientconfig.File, at pulled) {
	t.Helper()
	var conf struct {
		Mirrors  []string `json:"registry-mirrors"`
		Insecure []string `json:"insecure-registries"`
	}
	decodes(t, f, json.Unmarshal(f.Content, &conf))
	for _, mirror := range conf.Mirrors {
		u := parsesURL(t, mirror)
		if u.Scheme == "http" && !slices.Contains(conf.Insecure, u.Host) {
			t.Errorf("%s: the daemon speaks TLS to %s", f.Path, u.Host)
		}
		at["daemon.json"] = mirror + "/v2" + manifest
	}
}

// readContainers reads as containers/image does: it rewrites the reference, and
// takes a whole one only.
func readContainers(t *testing.T, f clientconfig.File, at pulled) {
	t.Helper()
	type location struct {
		Location string
		Insecure bool
	}
	var conf struct {
		Registry []struct {
			location

			Prefix string
			Mirror []location
		}
	}
	decodes(t, f, toml.Unmarshal(f.Content, &conf))
	for _, r := range conf.Registry {
		locations := append(r.Mirror, r.location)
		for _, l := range locations {
			rewritten := l.Location + "/" + repository + ":3"
			tag, err := name.NewTag(rewritten, name.StrictValidation)
			if err != nil || tag.Name() != rewritten && l.Location != "docker.io" {
				t.Errorf("%s: every pull of %s fails, as %s is read as %s (%v)", f.Path, r.Prefix, rewritten, tag, err)
			}
		}
		tag, _ := name.NewTag(locations[0].Location + "/" + repository + ":3")
		scheme := "https://"
		if locations[0].Insecure {
			scheme = "http://"
		}
		at[r.Prefix] = scheme + tag.RegistryStr() + "/v2/" + tag.RepositoryStr() + "/manifests/3"
	}
}

// readBuildkit reads as util/resolver of BuildKit does.
func readBuildkit(t *testing.T, f clientconfig.File, at pulled) {
	t.Helper()
	var conf struct {
		Registry map[string]struct {
			Mirrors []string
			HTTP    *bool
			CA      []string
		}
	}
	decodes(t, f, toml.Unmarshal(f.Content, &conf))
	for registry, r := range conf.Registry {
		for _, mirror := range r.Mirrors {
			u := parsesURL(t, "https://"+mirror)
			host := u.Hostname()
			plain := host == "localhost" || strings.HasPrefix(host, "127.") || host == "::1"
			if set := conf.Registry[u.Host].HTTP; set != nil {
				plain = *set
			}
			if plain {
				u.Scheme = "http"
			}
			u.Path = path.Join("/v2", u.Path)
			at[registry] = u.String() + manifest
		}
	}
}

// readK3s reads as pkg/agent/containerd/config.go of k3s does.
func readK3s(t *testing.T, client string, f clientconfig.File, files []clientconfig.File, at pulled) {
	t.Helper()
	var conf struct {
		Mirrors map[string]struct {
			Endpoint []string `yaml:"endpoint"`
		} `yaml:"mirrors"`
		Configs map[string]struct {
			TLS struct {
				CA string `yaml:"ca_file"`
			} `yaml:"tls"`
		} `yaml:"configs"`
	}
	decodes(t, f, yaml.Unmarshal(f.Content, &conf))
	for registry, mirror := range conf.Mirrors {
		u := parsesURL(t, mirror.Endpoint[0])
		if there(files, "pullgate-ca.crt") {
			folder := map[string]string{"rke2": "/etc/rancher/rke2/"}[client]
			if folder == "" {
				folder = "/etc/rancher/k3s/"
			}
			if got := conf.Configs[u.Host].TLS.CA; got != folder+"pullgate-ca.crt" {
				t.Errorf("%s: the certificate of %s is %q", f.Path, u.Host, got)
			}
		}
		if u.Path == "" {
			u.Path = "/v2"
		}
		at[registry] = u.String() + manifest
	}
}

func readTalos(t *testing.T, o clientconfig.Options, at pulled) {
	t.Helper()
	for _, raw := range talosDocuments(t, o) {
		var d registryMirrorConfig
		if err := yaml.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		if d.Kind == "RegistryMirrorConfig" {
			at[d.Name] = parsesURL(t, d.Endpoints[0].URL).String() + manifest
		}
	}
}

func decodes(t *testing.T, f clientconfig.File, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v\n%s", f.Path, err, f.Content)
	}
}

func parsesURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		t.Fatalf("%q is no URL of a host: %v", s, err)
	}
	return u
}

func there(files []clientconfig.File, name string) bool {
	return slices.ContainsFunc(files, func(f clientconfig.File) bool { return f.Path == name })
}

func (p pulled) String() string {
	var b strings.Builder
	for _, registry := range slices.Sorted(maps.Keys(p)) {
		b.WriteString(registry + " " + p[registry] + "\n")
	}
	return b.String()
}
