package clientconfig

import (
	"encoding/json"
	"errors"
	"path"
	"slices"

	"github.com/pullgate/pullgate/internal/oci"
)

// dockerDaemon is what daemon.json has of mirrors.
type dockerDaemon struct {
	RegistryMirrors    []string `json:"registry-mirrors"`
	InsecureRegistries []string `json:"insecure-registries,omitempty"`
}

var (
	errDockerHub      = errors.New("the daemon mirrors docker.io only: name it, and write other registries into image references as HOST/proxy-ghcr.io/NAME")
	errDockerLogin    = errors.New("the daemon cannot log in to a mirror: serve it without authentication, or use the containerd image store and the files for containerd")
	errDockerFallback = errors.New("the daemon always falls back to docker.io: there is no setting against it")
)

// docker makes daemon.json. The prefix stands before /v2 in what the daemon makes
// of a mirror with a path; before 24.0.8 it takes none, and the gateway needs
// docker.io as its default.
func docker(o Options) ([]File, error) {
	switch {
	case !o.has(oci.DockerHub):
		return nil, errDockerHub
	case o.Username != "":
		return nil, errDockerLogin
	case o.SkipFallback:
		return nil, errDockerFallback
	}
	daemon := dockerDaemon{RegistryMirrors: []string{o.root() + "/proxy-" + oci.DockerHub}}
	if o.ByNamespace {
		daemon.RegistryMirrors = []string{o.root()}
	}
	if o.Endpoint.Scheme == "http" {
		daemon.InsecureRegistries = []string{o.Endpoint.Host}
	}
	raw, err := json.MarshalIndent(daemon, "", "  ")
	if err != nil {
		return nil, err
	}
	files := []File{{Path: "daemon.json", Content: append(raw, '\n')}}
	return slices.Concat(files, o.certificates("certs.d")), nil
}

// certificates makes the folder in which Docker and its kin look for the
// authority of a host.
func (o Options) certificates(folder string) []File {
	if len(o.Authority) == 0 {
		return nil
	}
	return []File{{Path: path.Join(folder, o.Endpoint.Host, authorityFile), Content: o.authority()}}
}

func dockerSteps(o Options) (steps []string) {
	steps = append(steps, "the daemon reads the file when it starts: merge it with a daemon.json that is there already, and restart the daemon")
	if o.ByNamespace {
		// Only the containerd image store has the parameter ns in its requests.
		steps = append(steps, "make docker.io the gateway's default: to a mirror without a path, the daemon does not say that it means docker.io")
	} else {
		steps = append(steps, "a daemon before 24.0.8 refuses a mirror with a path, and does not start: for such, use --ns and make docker.io the gateway's default")
	}
	for _, name := range o.Upstreams {
		if name != oci.DockerHub {
			steps = append(steps, "the daemon mirrors docker.io only: pull images of "+name+" as "+o.location(name)+"/NAME")
		}
	}
	return steps
}
