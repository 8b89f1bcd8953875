package clientconfig

import (
	"encoding/base64"
	"path"

	"github.com/pelletier/go-toml/v2"
)

// hostsTOML is a hosts.toml: of containerd, and of all that use its resolver
// (containerd/containerd: docs/hosts.md, core/remotes/docker/config/hosts.go).
type hostsTOML struct {
	// Server is where containerd falls back to; none = the registry itself.
	Server string `toml:"server,omitempty"`
	// What holds for the server.
	hostTOML

	Host map[string]hostTOML `toml:"host"`
}

type hostTOML struct {
	Capabilities []string          `toml:"capabilities,omitempty"`
	OverridePath bool              `toml:"override_path,omitempty"`
	CA           string            `toml:"ca,omitempty"`
	Header       map[string]string `toml:"header,omitempty"`
}

const authorityFile = "ca.crt"

// hostsFiles makes a folder for each registry, with the certificate beside the
// file that names it: a name in hosts.toml is relative to its folder.
func hostsFiles(o Options) ([]File, error) {
	return o.hosts(authorityFile, func(folder string) []File {
		return []File{{Path: path.Join(folder, authorityFile), Content: o.authority()}}
	})
}

// hosts makes a hosts.toml for each registry, with the certificate at ca, seen
// from the folder of the registry; with adds files to a folder then. A folder is
// named as the registry is, with its port, which all releases look for.
func (o Options) hosts(ca string, with func(folder string) []File) ([]File, error) {
	var files []File
	for _, name := range o.names() {
		folder := name
		if o.ByNamespace {
			folder = "_default"
		}
		raw, err := toml.Marshal(o.hostsTOML(name, ca))
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: path.Join(folder, "hosts.toml"), Content: raw, Secret: o.Username != ""})
		if len(o.Authority) > 0 {
			files = append(files, with(folder)...)
		}
	}
	return files, nil
}

// hostsTOML returns the file of a registry. Releases up to 1.7 insist on a host
// table; so to forbid falling back, the gateway stands in both places. The
// capability "referrers" is left out: a release that does not know it drops the
// whole file.
func (o Options) hostsTOML(name, ca string) hostsTOML {
	host := hostTOML{Capabilities: []string{"pull", "resolve"}, OverridePath: !o.ByNamespace}
	if len(o.Authority) > 0 {
		host.CA = ca
	}
	if o.Username != "" {
		host.Header = map[string]string{
			"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(o.Username+":"+o.Password)),
		}
	}
	hosts := hostsTOML{Host: map[string]hostTOML{o.endpoint(name): host}}
	if o.SkipFallback {
		hosts.Server, hosts.hostTOML = o.endpoint(name), host
	}
	return hosts
}

const referrersStep = `containerd 2.2 and newer look for signatures and SBOMs (referrers) at the registry itself; to have them through the gateway too, ` +
	`add "referrers" to capabilities: older releases then ignore the file`

func containerdSteps(Options) []string {
	return []string{
		`containerd reads the files at each pull, if its config.toml has config_path = "/etc/containerd/certs.d" in ` +
			`[plugins."io.containerd.grpc.v1.cri".registry], since 2.0 in [plugins."io.containerd.cri.v1.images".registry]; ` +
			`2.2 and newer have it by default`,
		`ctr reads them with --hosts-dir /etc/containerd/certs.d`,
		referrersStep,
	}
}

// The folders are those of pkg/defaults/defaults_linux.go in containerd/nerdctl.
func nerdctlSteps(Options) []string {
	return []string{
		"nerdctl reads the files at each pull, whatever config.toml of containerd says; rootless, it looks for them in ~/.config/containerd/certs.d",
		"nerdctl build pulls through buildkitd, which needs its own file: see client-config buildkit",
		referrersStep,
	}
}

// The folder is that of microk8s-resources/default-args/containerd-template.toml
// in canonical/microk8s, which also brings a file for docker.io.
func microk8sSteps(o Options) []string {
	steps := []string{
		"containerd of MicroK8s reads the files at each pull: put them onto every node",
	}
	if o.has("docker.io") && !o.ByNamespace {
		steps = append(steps, "MicroK8s brings a docker.io/hosts.toml of its own: replace it with --force")
	}
	if o.ByNamespace {
		steps = append(steps, "MicroK8s brings a docker.io/hosts.toml of its own, which goes before _default: remove it")
	}
	return append(steps, referrersStep)
}
