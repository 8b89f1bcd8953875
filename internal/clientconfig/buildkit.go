package clientconfig

import (
	"errors"

	"github.com/pelletier/go-toml/v2"
)

// buildkitRegistry is what buildkitd.toml has of a registry (moby/buildkit:
// docs/buildkitd.toml.md, util/resolver/resolver.go).
type buildkitRegistry struct {
	Mirrors []string `toml:"mirrors,omitempty"`
	HTTP    *bool    `toml:"http,omitempty"`
	CA      []string `toml:"ca,omitempty"`
}

const buildkitAuthority = "pullgate-ca.crt"

var (
	errBuildkitLogin    = errors.New("the daemon takes credentials from its clients: run docker login there, and leave the user out")
	errBuildkitFallback = errors.New("the daemon always falls back to the registry itself: there is no setting against it")
)

// buildkit makes buildkitd.toml. The daemon puts /v2 in front of the path of a
// mirror, which so becomes the canonical one. A mirror is not an image reference here:
// one word and a port in the path are fine. Unless told otherwise, the daemon
// speaks HTTP to the machine that it runs on.
func buildkit(o Options) ([]File, error) {
	switch {
	case o.Username != "":
		return nil, errBuildkitLogin
	case o.SkipFallback:
		return nil, errBuildkitFallback
	}
	registries := map[string]buildkitRegistry{}
	for _, name := range o.Upstreams {
		mirror := o.Endpoint.Host
		if !o.ByNamespace {
			mirror += "/" + o.component(name)
		}
		registries[name] = buildkitRegistry{Mirrors: []string{mirror}}
	}
	var gateway buildkitRegistry
	if plain := o.Endpoint.Scheme == "http"; plain || o.loopback() {
		gateway.HTTP = &plain
	}
	if len(o.Authority) > 0 {
		gateway.CA = []string{"/etc/buildkit/" + buildkitAuthority}
	}
	if gateway.HTTP != nil || gateway.CA != nil {
		registries[o.Endpoint.Host] = gateway
	}
	raw, err := toml.Marshal(map[string]any{"registry": registries})
	if err != nil {
		return nil, err
	}
	files := []File{{Path: "buildkitd.toml", Content: raw}}
	if len(o.Authority) > 0 {
		files = append(files, File{Path: buildkitAuthority, Content: o.authority()})
	}
	return files, nil
}

// What buildx does with the certificate is in util/confutil/container.go of
// docker/buildx.
func buildkitSteps(o Options) []string {
	steps := []string{"buildkitd reads it when it starts; for a builder of buildx: docker buildx create --buildkitd-config buildkitd.toml"}
	if len(o.Authority) > 0 {
		steps = append(steps, "ca names /etc/buildkit/"+buildkitAuthority+" where buildkitd runs, so mount it there into a container or pod; "+
			"buildx reads it from that path on the machine where the builder is created, and copies it: put it there, or change the path")
	}
	if o.loopback() {
		steps = append(steps, "in the container of a builder, "+o.Endpoint.Hostname()+" is the container itself: give an endpoint that it reaches, "+
			"or create the builder with --driver-opt network=host")
	}
	return append(steps, "the builder that the Docker daemon brings reads the files for docker, not these")
}
