package clientconfig

import (
	"fmt"
	"slices"
	"strings"
)

// File is one file of a client.
type File struct {
	// Path is where it belongs, relative to the client's directory.
	Path string
	// Content is all of it, with a line break at its end.
	Content []byte
	// Secret says that it holds a password.
	Secret bool
}

// Client is what files can be made for.
type Client struct {
	// Name is what users call it by.
	Name string
	// Summary is what is made for it, in a few words.
	Summary string
	// Directory is where the paths of its files begin; empty where the files go
	// to no directory of the client's own.
	Directory string

	files func(Options) ([]File, error)
	steps func(Options) []string
}

// Clients returns all of them, sorted by name.
func Clients() []Client {
	return []Client{
		{"buildkit", "buildkitd.toml", "/etc/buildkit", buildkit, buildkitSteps},
		{"containerd", "a hosts.toml for each registry", "/etc/containerd/certs.d", hostsFiles, containerdSteps},
		{"crio", "a drop-in of registries.conf", "/etc", crio, crioSteps},
		{"docker", "daemon.json, and a hosts.toml for each registry", "/etc/docker", docker, dockerSteps},
		{"k3d", "k3d.yaml, and the registries.yaml that it names", "", k3d, k3dSteps},
		{"k3s", "registries.yaml", k3s().directory, k3s().files, k3s().steps},
		{"kind", "kind.yaml, and the certs.d that it mounts", "", kind, kindSteps},
		{"microk8s", "a hosts.toml for each registry", "/var/snap/microk8s/current/args/certs.d", hostsFiles, microk8sSteps},
		{"minikube", "a hosts.toml for each registry", "~/.minikube", minikube, minikubeSteps},
		{"nerdctl", "a hosts.toml for each registry", "/etc/containerd/certs.d", hostsFiles, nerdctlSteps},
		{"podman", "a drop-in of registries.conf, which skopeo and Buildah read too", "/etc/containers", podman, podmanSteps},
		{"rke2", "registries.yaml", rke2().directory, rke2().files, rke2().steps},
		{"talos", "a patch of documents for talosctl, one for each registry", "", talos, talosSteps},
	}
}

// Find returns the client of a name.
func Find(name string) (Client, bool) {
	clients := Clients()
	at := slices.IndexFunc(clients, func(c Client) bool { return c.Name == name })
	if at < 0 {
		return Client{}, false
	}
	return clients[at], true
}

// Files returns the files of a client, in the order in which they make sense to
// a reader. The error says what is wrong with the options, or that the client
// cannot do what they ask for.
func (c Client) Files(o Options) ([]File, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.MachineConfig && c.Name != "talos" {
		return nil, fmt.Errorf("%s: only Talos has a machine configuration", c.Name)
	}
	files, err := c.files(o.normal())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	return files, nil
}

// Steps returns what is left to do once the files that Files has made are in
// place, and what they do not cover; each is a line of prose.
func (c Client) Steps(o Options) []string { return c.steps(o.normal()) }

// below puts files into a folder.
func below(folder string, files []File) []File {
	out := slices.Clone(files)
	for n := range out {
		out[n].Path = strings.TrimSuffix(folder, "/") + "/" + out[n].Path
	}
	return out
}
