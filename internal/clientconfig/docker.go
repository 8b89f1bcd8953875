package clientconfig

import (
	"encoding/json"
	"path"

	"github.com/pullgate/pullgate/internal/oci"
)

// dockerDaemon is what daemon.json has of mirrors.
type dockerDaemon struct {
	RegistryMirrors    []string `json:"registry-mirrors,omitempty"`
	InsecureRegistries []string `json:"insecure-registries,omitempty"`
}

// docker makes daemon.json, which mirrors docker.io only, and a hosts.toml for
// each registry, which the daemon reads since 28.0 where it has containerd's image
// store (moby/moby: daemon/hosts.go). There, a hosts.toml goes before
// registry-mirrors; elsewhere it is not looked at. So what daemon.json cannot say,
// a user or that nothing may go around the gateway, is left out of it.
//
// The certificate lies where all releases look for that of the gateway, and not
// beside a hosts.toml: there, older ones would trust it with that registry.
func docker(o Options) ([]File, error) {
	if o.Endpoint.Scheme == "http" {
		// The daemon does not start with insecure-registries that are none.
		if err := o.checkReferenceHost(true); err != nil {
			return nil, err
		}
	}
	e := *o.Endpoint
	e.Host = o.registry()
	o.Endpoint = &e
	files, err := o.dockerDaemon()
	if err != nil {
		return nil, err
	}
	hosts, err := o.hosts(path.Join("..", o.registry(), authorityFile), func(string) []File { return nil })
	if err != nil {
		return nil, err
	}
	return append(append(files, below("certs.d", hosts)...), o.certificates("certs.d")...), nil
}

// dockerMirrors reports whether daemon.json can make the gateway a mirror.
func (o Options) dockerMirrors() bool {
	return o.has(oci.DockerHub) && o.Username == "" && !o.SkipFallback
}

// dockerDaemon makes daemon.json, if there is anything to say in it. The prefix
// stands before /v2 in what the daemon makes of a mirror with a path; before
// 24.0.8 it takes none, and the gateway needs docker.io as its default.
func (o Options) dockerDaemon() ([]File, error) {
	var daemon dockerDaemon
	if o.dockerMirrors() {
		daemon.RegistryMirrors = []string{o.root() + "/" + o.component(oci.DockerHub)}
		if o.ByNamespace {
			daemon.RegistryMirrors = []string{o.root()}
		}
	}
	if o.Endpoint.Scheme == "http" {
		daemon.InsecureRegistries = []string{o.registry()}
	}
	if daemon.RegistryMirrors == nil && daemon.InsecureRegistries == nil {
		return nil, nil
	}
	raw, err := json.MarshalIndent(daemon, "", "  ")
	if err != nil {
		return nil, err
	}
	return []File{{Path: "daemon.json", Content: append(raw, '\n')}}, nil
}

func dockerSteps(o Options) (steps []string) {
	if o.dockerMirrors() || o.Endpoint.Scheme == "http" {
		steps = append(steps, "the daemon reads daemon.json when it starts: merge it with a daemon.json that is there already, and restart the daemon")
	}
	steps = append(steps, "the daemon reads certs.d at each pull and build, hosts.toml from Docker 28.0 on and with the containerd image store only "+
		"(new installations have it since 29.0; docker info says driver-type: io.containerd.snapshotter.v1): it then mirrors all registries that have one; "+
		"rootless, certs.d lies in ~/.config/docker")
	switch {
	case o.Username != "":
		steps = append(steps, "a daemon without that store cannot log in to a mirror, and goes around the gateway")
	case o.SkipFallback:
		steps = append(steps, "a daemon without that store cannot be kept from going around the gateway")
	case !o.has(oci.DockerHub):
	case o.ByNamespace:
		// Only the containerd image store has the parameter ns in its requests.
		steps = append(steps, "make docker.io the gateway's default: to a mirror without a path, a daemon without that store does not say that it means docker.io")
	default:
		steps = append(steps, "a daemon before 24.0.8 refuses a mirror with a path, and does not start: for such, use --ns and make docker.io the gateway's default")
	}
	for _, name := range o.Upstreams {
		if name != oci.DockerHub {
			steps = append(steps, "a daemon without that store mirrors docker.io only: "+o.instead(name))
		}
	}
	return steps
}

// instead says how an upstream is reached without a mirror.
func (o Options) instead(upstream string) string {
	location, err := o.location(upstream)
	if err == nil {
		err = o.checkReferenceHost(true)
	}
	if err != nil {
		return err.Error()
	}
	return "pull images of " + upstream + " as " + location + "/NAME"
}
