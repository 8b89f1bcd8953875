package clientconfig

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"path"

	"github.com/pelletier/go-toml/v2"
)

// containersRegistry is one of a registries.conf(5), of Podman, CRI-O, skopeo and
// Buildah.
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

var errNoNamespace = errors.New("the client does not send ns: leave that out, so that the path tells the registry")

// podman makes the files below /etc/containers. The credentials belong into the
// file that REGISTRY_AUTH_FILE names, or where podman login puts them.
func podman(o Options) ([]File, error) { return containers(o, "", "auth.json") }

const crioLogin = "crio/pullgate-auth.json"

// crio makes the same for CRI-O, which is told where the credentials are.
func crio(o Options) ([]File, error) {
	files, err := containers(o, "containers", crioLogin)
	if err != nil || o.Username == "" {
		return files, err
	}
	login := map[string]string{"global_auth_file": path.Join("/etc", crioLogin)}
	raw, err := toml.Marshal(map[string]any{"crio": map[string]any{"image": login}})
	if err != nil {
		return nil, err
	}
	return append(files, File{Path: "crio/crio.conf.d/50-pullgate.conf", Content: raw}), nil
}

// containers rewrites references: where the gateway is a mirror, the registry
// itself comes after it; where nothing may go around the gateway, it stands in
// the place of the registry.
//
// The client rewrites a reference for all locations before it asks any of them,
// and demands that each is whole and canonical. So one location that is not
// breaks every pull of the registry, the fallback too (containers/image:
// PullSourcesFromReference in pkg/sysregistriesv2/system_registries_v2.go).
func containers(o Options, folder, credentials string) ([]File, error) {
	if o.ByNamespace {
		return nil, errNoNamespace
	}
	if err := o.checkReferenceHost(false); err != nil {
		return nil, err
	}
	var registries []containersRegistry
	insecure := o.Endpoint.Scheme == "http"
	for _, name := range o.Upstreams {
		location, err := o.location(name)
		if err != nil {
			return nil, err
		}
		r := containersRegistry{Prefix: name, Location: location, Insecure: insecure}
		if !o.SkipFallback {
			r = containersRegistry{Prefix: name, Location: name, Mirror: []containersMirror{{location, insecure}}}
		}
		registries = append(registries, r)
	}
	raw, err := toml.Marshal(map[string]any{"registry": registries})
	if err != nil {
		return nil, err
	}
	files := []File{{Path: path.Join(folder, "registries.conf.d/50-pullgate.conf"), Content: raw}}
	files = append(files, o.certificates(path.Join(folder, "certs.d"))...)
	if o.Username != "" { // as containers-auth.json(5) has it
		login := base64.StdEncoding.EncodeToString([]byte(o.Username + ":" + o.Password))
		raw, err := json.MarshalIndent(map[string]any{"auths": map[string]any{o.registry(): map[string]string{"auth": login}}}, "", "  ")
		if err != nil {
			return nil, err
		}
		files = append(files, File{Path: credentials, Content: append(raw, '\n'), Secret: true})
	}
	return files, nil
}

// certificates makes the folder in which Docker and its kin look for the
// authority of a registry.
func (o Options) certificates(folder string) []File {
	if len(o.Authority) == 0 {
		return nil
	}
	return []File{{Path: path.Join(folder, o.registry(), authorityFile), Content: o.authority()}}
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

// What the credentials replace is in server/image_pull.go and server/server.go of
// cri-o/cri-o.
func crioSteps(o Options) []string {
	steps := []string{"CRI-O reads the files when it starts: restart it"}
	if o.Username != "" {
		steps = append(steps,
			"global_auth_file in crio.conf.d/50-pullgate.conf takes the place of any other, such as the kubelet's /var/lib/kubelet/config.json: "+
				"if the node pulls with one already, add the entry of pullgate-auth.json to that, and remove 50-pullgate.conf",
			"a pod with an imagePullSecret for a registry shows that to the gateway, too, in place of these credentials: "+
				"if the gateway does not know it, the pull goes around the gateway",
		)
	}
	return steps
}
