package clientconfig

import (
	"bytes"
	"encoding/base64"

	"go.yaml.in/yaml/v3"
)

// The documents of Talos 1.12 and newer.
// See https://docs.siderolabs.com/talos/v1.12/reference/configuration/cri/registrymirrorconfig.
type (
	talosDocument struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string `yaml:"kind"`
		Name       string `yaml:"name"`
	}
	talosMirror struct {
		talosDocument `yaml:",inline"`

		Endpoints    []talosEndpoint `yaml:"endpoints"`
		SkipFallback bool            `yaml:"skipFallback,omitempty"`
	}
	talosEndpoint struct {
		URL          string `yaml:"url"`
		OverridePath bool   `yaml:"overridePath,omitempty"`
	}
	talosAuth struct {
		talosDocument `yaml:",inline"`

		Username string `yaml:"username"`
		Password string `yaml:"password"`
	}
	talosTLS struct {
		talosDocument `yaml:",inline"`

		CA string `yaml:"ca"`
	}
)

// The part of the machine configuration that older releases have instead. There,
// the certificate is in base64, and the path is overridden for all endpoints of a
// registry.
type (
	talosMachineConfig struct {
		Machine struct {
			Registries talosRegistries `yaml:"registries"`
		} `yaml:"machine"`
	}
	talosRegistries struct {
		Mirrors map[string]talosMachineMirror `yaml:"mirrors"`
		Config  map[string]talosMachineHost   `yaml:"config,omitempty"`
	}
	talosMachineMirror struct {
		Endpoints    []string `yaml:"endpoints"`
		OverridePath bool     `yaml:"overridePath,omitempty"`
		SkipFallback bool     `yaml:"skipFallback,omitempty"`
	}
	talosMachineHost struct {
		TLS  *talosMachineTLS  `yaml:"tls,omitempty"`
		Auth *talosMachineAuth `yaml:"auth,omitempty"`
	}
	talosMachineTLS struct {
		CA string `yaml:"ca"` // base64
	}
	talosMachineAuth struct {
		Username string `yaml:"username"`
		Password string `yaml:"password"`
	}
)

const (
	talosFile      = "pullgate.yaml"
	talosPatchFile = "pullgate-patch.yaml"
)

// talos makes one patch, to be given to talosctl as it is. Credentials and
// certificates are matched by exactly the host and port of the endpoint.
func talos(o Options) ([]File, error) {
	if o.MachineConfig {
		return talosPatch(o)
	}
	document := func(kind, name string) talosDocument { return talosDocument{"v1alpha1", kind, name} }
	var documents []any
	for _, name := range o.names() {
		documents = append(documents, talosMirror{
			talosDocument: document("RegistryMirrorConfig", name),
			Endpoints:     []talosEndpoint{{URL: o.endpoint(name), OverridePath: !o.ByNamespace}},
			SkipFallback:  o.SkipFallback,
		})
	}
	if len(o.Authority) > 0 {
		documents = append(documents, talosTLS{document("RegistryTLSConfig", o.Endpoint.Host), string(o.authority())})
	}
	if o.Username != "" {
		documents = append(documents, talosAuth{document("RegistryAuthConfig", o.Endpoint.Host), o.Username, o.Password})
	}
	return o.talosFile(talosFile, documents...)
}

func talosPatch(o Options) ([]File, error) {
	var patch talosMachineConfig
	mirrors := map[string]talosMachineMirror{}
	for _, name := range o.names() {
		mirrors[name] = talosMachineMirror{[]string{o.endpoint(name)}, !o.ByNamespace, o.SkipFallback}
	}
	var host talosMachineHost
	if len(o.Authority) > 0 {
		host.TLS = &talosMachineTLS{base64.StdEncoding.EncodeToString(o.authority())}
	}
	if o.Username != "" {
		host.Auth = &talosMachineAuth{o.Username, o.Password}
	}
	patch.Machine.Registries.Mirrors = mirrors
	if host != (talosMachineHost{}) {
		patch.Machine.Registries.Config = map[string]talosMachineHost{o.Endpoint.Host: host}
	}
	return o.talosFile(talosPatchFile, patch)
}

func (o Options) talosFile(path string, documents ...any) ([]File, error) {
	files, err := yamlFile(path, documents...)
	for n := range files {
		files[n].Secret = o.Username != ""
	}
	return files, err
}

// yamlFile makes one file of documents, which all belong together.
func yamlFile(path string, documents ...any) ([]File, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	for _, d := range documents {
		if err := e.Encode(d); err != nil {
			return nil, err
		}
	}
	if err := e.Close(); err != nil {
		return nil, err
	}
	return []File{{Path: path, Content: b.Bytes()}}, nil
}

func talosSteps(o Options) []string {
	file := talosFile
	if o.MachineConfig {
		file = talosPatchFile
	}
	return []string{
		"give the file to talosctl: talosctl patch machineconfig --patch @" + file +
			", or talosctl gen config --config-patch @" + file,
	}
}
