package clientconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"path"

	"github.com/pelletier/go-toml/v2"
)

// containersRegistries is a registries.conf(5), of Podman, CRI-O, skopeo and
// Buildah.
type containersRegistries struct {
	Registry []containersRegistry `toml:"registry"`
}

type containersRegistry struct {
	Prefix   string             `toml:"prefix"`
	Location string             `toml:"location"`
	Insecure bool               `toml:"insecure,omitempty"`
	Mirror   []containersMirror `toml:"mirror,omitempty"`
}

type containersMirror struct {
	Location string `toml:"location"`
	Insecure bool   `toml:"insecure,omitempty"`
}

// authFile is a containers-auth.json(5).
type authFile struct {
	Auths map[string]authEntry `json:"auths"`
}

type authEntry struct {
	Auth string `json:"auth"`
}

var errNoNamespace = errors.New("the client does not send ns: leave that out, so that the path tells the registry")

// podman makes the files below /etc/containers. The credentials belong into the
// file that REGISTRY_AUTH_FILE names, or where podman login puts them.
func podman(o Options) ([]File, error) { return containers(o, "", "auth.json") }

// crio makes the same for CRI-O, which is told where the credentials are.
func crio(o Options) ([]File, error) {
	const loginFile = "crio/pullgate-auth.json"
	files, err := containers(o, "containers", loginFile)
	if err != nil || o.Username == "" {
		return files, err
	}
	var conf struct {
		CRIO struct {
			Image struct {
				GlobalAuthFile string `toml:"global_auth_file"`
			} `toml:"image"`
		} `toml:"crio"`
	}
	conf.CRIO.Image.GlobalAuthFile = path.Join("/etc", loginFile)
	raw, err := toml.Marshal(conf)
	if err != nil {
		return nil, err
	}
	return append(files, File{Path: "crio/crio.conf.d/50-pullgate.conf", Content: raw}), nil
}

// containers rewrites references: where the gateway is a mirror, the registry
// itself comes after it; where nothing may go around the gateway, it stands in
// the place of the registry.
func containers(o Options, folder, credentials string) ([]File, error) {
	if o.ByNamespace {
		return nil, errNoNamespace
	}
	var conf containersRegistries
	insecure := o.Endpoint.Scheme == "http"
	for _, name := range o.Upstreams {
		r := containersRegistry{Prefix: name, Location: o.location(name), Insecure: insecure}
		if !o.SkipFallback {
			r = containersRegistry{Prefix: name, Location: name, Mirror: []containersMirror{{o.location(name), insecure}}}
		}
		conf.Registry = append(conf.Registry, r)
	}
	raw, err := toml.Marshal(conf)
	if err != nil {
		return nil, err
	}
	files := []File{{Path: path.Join(folder, "registries.conf.d/50-pullgate.conf"), Content: raw}}
	files = append(files, o.certificates(path.Join(folder, "certs.d"))...)
	if o.Username != "" {
		login := base64.StdEncoding.EncodeToString([]byte(o.Username + ":" + o.Password))
		raw, err := json.MarshalIndent(authFile{map[string]authEntry{o.Endpoint.Host: {login}}}, "", "  ")
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: credentials, Content: append(raw, '\n'), Secret: true})
	}
	return files, nil
}

func podmanSteps(o Options) []string {
	if o.Username == "" {
		return nil
	}
	return []string{
		"credentials are looked for in ~/.config/containers/auth.json of the user who pulls: move auth.json there, " +
			"or name it in REGISTRY_AUTH_FILE",
	}
}

func crioSteps(Options) []string {
	return []string{"CRI-O reads the files when it starts: restart it"}
}
