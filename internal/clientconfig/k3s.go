package clientconfig

// distribution is one of those that read registries.yaml.
type distribution struct {
	name, directory string
	// services are those that a node has one of.
	services string
}

func k3s() distribution {
	return distribution{"k3s", "/etc/rancher/k3s", "systemctl restart k3s, or k3s-agent"}
}

func rke2() distribution {
	return distribution{"RKE2", "/etc/rancher/rke2", "systemctl restart rke2-server, or rke2-agent"}
}

const (
	k3sFile      = "registries.yaml"
	k3sAuthority = "pullgate-ca.crt"
	k3sNoDefault = "disable-default-registry-endpoint"
)

// files makes registries.yaml. An endpoint with a path overrides the path. Not to
// fall back is an option of the agent's own, which config.yaml.d sets.
func (d distribution) files(o Options) ([]File, error) {
	files, err := d.registries(o)
	if err == nil && o.SkipFallback {
		files = append(files, File{Path: "config.yaml.d/pullgate.yaml", Content: []byte(k3sNoDefault + ": true\n")})
	}
	return files, err
}

// registries makes registries.yaml, and the certificate that it names (docs.k3s.io and
// docs.rke2.io: Private Registry Configuration; rancher/wharfie: pkg/registries/types.go).
func (d distribution) registries(o Options) ([]File, error) {
	mirrors := map[string]object{}
	for _, name := range o.names() {
		mirrors[name] = object{{"endpoint", []string{o.endpoint(name)}}}
	}
	var host object
	if o.Username != "" {
		host = append(host, field{"auth", o.login()})
	}
	if len(o.Authority) > 0 {
		host = append(host, field{"tls", object{{"ca_file", d.directory + "/" + k3sAuthority}}})
	}
	files, err := yamlFile(k3sFile, object{{"mirrors", mirrors}, {"configs", o.ofHost(host)}})
	if err != nil {
		return nil, err
	}
	files[0].Secret = o.Username != ""
	if len(o.Authority) > 0 {
		files = append(files, File{Path: k3sAuthority, Content: o.authority()})
	}
	return files, nil
}

func (d distribution) steps(o Options) []string {
	steps := []string{d.name + " reads the files when it starts, on every node: put them onto servers and agents, and " + d.services}
	if o.SkipFallback {
		steps = append(steps, d.name+" has "+k3sNoDefault+" since its releases of January 2024: v1.26.13, v1.27.10, v1.28.6, v1.29.1")
	}
	return steps
}
