package clientconfig

import (
	"errors"

	"github.com/pelletier/go-toml/v2"
)

// buildkitConfig is what buildkitd.toml has of registries.
type buildkitConfig struct {
	Registry map[string]buildkitRegistry `toml:"registry"`
}

type buildkitRegistry struct {
	Mirrors []string `toml:"mirrors,omitempty"`
	HTTP    bool     `toml:"http,omitempty"`
	CA      []string `toml:"ca,omitempty"`
}

const buildkitAuthority = "pullgate-ca.crt"

var (
	errBuildkitLogin    = errors.New("the daemon takes credentials from its clients: run docker login there, and leave the user out")
	errBuildkitFallback = errors.New("the daemon always falls back to the registry itself: there is no setting against it")
)

// buildkit makes buildkitd.toml. The daemon puts /v2 in front of the path of a
// mirror, which so becomes the canonical one.
func buildkit(o Options) ([]File, error) {
	switch {
	case o.Username != "":
		return nil, errBuildkitLogin
	case o.SkipFallback:
		return nil, errBuildkitFallback
	}
	conf := buildkitConfig{map[string]buildkitRegistry{}}
	for _, name := range o.Upstreams {
		mirror := o.location(name)
		if o.ByNamespace {
			mirror = o.Endpoint.Host
		}
		conf.Registry[name] = buildkitRegistry{Mirrors: []string{mirror}}
	}
	gateway := buildkitRegistry{HTTP: o.Endpoint.Scheme == "http"}
	if len(o.Authority) > 0 {
		gateway.CA = []string{"/etc/buildkit/" + buildkitAuthority}
	}
	if gateway.HTTP || gateway.CA != nil {
		conf.Registry[o.Endpoint.Host] = gateway
	}
	raw, err := toml.Marshal(conf)
	if err != nil {
		return nil, err
	}
	files := []File{{Path: "buildkitd.toml", Content: raw}}
	if len(o.Authority) > 0 {
		files = append(files, File{Path: buildkitAuthority, Content: o.authority()})
	}
	return files, nil
}

func buildkitSteps(Options) []string {
	return []string{"buildkitd reads it when it starts; for a builder of buildx: docker buildx create --buildkitd-config buildkitd.toml"}
}
