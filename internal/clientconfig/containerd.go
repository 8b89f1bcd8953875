package clientconfig

import (
	"encoding/base64"
	"path"

	"github.com/pelletier/go-toml/v2"
)

// containerdHosts is a hosts.toml.
type containerdHosts struct {
	// Server is where containerd falls back to; none = the registry itself.
	Server string `toml:"server,omitempty"`
	// What holds for the server.
	containerdHost

	Host map[string]containerdHost `toml:"host"`
}

type containerdHost struct {
	Capabilities []string          `toml:"capabilities,omitempty"`
	OverridePath bool              `toml:"override_path,omitempty"`
	CA           string            `toml:"ca,omitempty"`
	Header       map[string]string `toml:"header,omitempty"`
}

const authorityFile = "ca.crt"

// containerd makes a folder for each registry. Versions up to 1.7 insist on a
// host table; so to forbid falling back, the gateway stands in both places. The
// certificate is named relative to the folder, which containerd understands.
func containerd(o Options) ([]File, error) {
	var files []File
	for _, name := range o.names() {
		folder := name
		if o.ByNamespace {
			folder = "_default"
		}
		host := containerdHost{Capabilities: []string{"pull", "resolve"}, OverridePath: !o.ByNamespace}
		if len(o.Authority) > 0 {
			host.CA = authorityFile
		}
		if o.Username != "" {
			host.Header = map[string]string{
				"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(o.Username+":"+o.Password)),
			}
		}
		hosts := containerdHosts{Host: map[string]containerdHost{o.endpoint(name): host}}
		if o.SkipFallback {
			hosts.Server, hosts.containerdHost = o.endpoint(name), host
		}
		raw, err := toml.Marshal(hosts)
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: path.Join(folder, "hosts.toml"), Content: raw, Secret: o.Username != ""})
		if len(o.Authority) > 0 {
			files = append(files, File{Path: path.Join(folder, authorityFile), Content: o.authority()})
		}
	}
	return files, nil
}

func containerdSteps(Options) []string {
	return []string{
		`containerd reads the files at each pull, if its config.toml has config_path = "/etc/containerd/certs.d" in ` +
			`[plugins."io.containerd.grpc.v1.cri".registry], since 2.0 in [plugins."io.containerd.cri.v1.images".registry]`,
	}
}
