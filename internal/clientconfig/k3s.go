package clientconfig

// k3sRegistries is registries.yaml of k3s and RKE2.
// See https://docs.k3s.io/installation/private-registry.
type k3sRegistries struct {
	Mirrors map[string]k3sMirror `yaml:"mirrors"`
	Configs map[string]k3sHost   `yaml:"configs,omitempty"`
}

type k3sMirror struct {
	Endpoint []string `yaml:"endpoint"`
}

type k3sHost struct {
	Auth *k3sAuth `yaml:"auth,omitempty"`
	TLS  *k3sTLS  `yaml:"tls,omitempty"`
}

type k3sAuth struct {
	Username string `yaml:"username"`
	Password string `yaml:"password"`
}

type k3sTLS struct {
	CAFile string `yaml:"ca_file"`
}

const k3sAuthority = "pullgate-ca.crt"

// k3s makes registries.yaml. An endpoint with a path overrides the path. Not to
// fall back is an option of the server's own (--disable-default-registry-endpoint),
// which config.yaml.d sets.
func k3s(o Options) ([]File, error) {
	registries := k3sRegistries{Mirrors: map[string]k3sMirror{}}
	for _, name := range o.names() {
		registries.Mirrors[name] = k3sMirror{[]string{o.endpoint(name)}}
	}
	var host k3sHost
	if o.Username != "" {
		host.Auth = &k3sAuth{o.Username, o.Password}
	}
	if len(o.Authority) > 0 {
		host.TLS = &k3sTLS{"/etc/rancher/k3s/" + k3sAuthority}
	}
	if host != (k3sHost{}) {
		registries.Configs = map[string]k3sHost{o.Endpoint.Host: host}
	}
	files, err := o.yamlFile("registries.yaml", registries)
	if err != nil {
		return nil, err
	}
	if len(o.Authority) > 0 {
		files = append(files, File{Path: k3sAuthority, Content: o.authority()})
	}
	if o.SkipFallback {
		files = append(files, File{
			Path: "config.yaml.d/pullgate.yaml", Content: []byte("disable-default-registry-endpoint: true\n"),
		})
	}
	return files, nil
}

func k3sSteps(Options) []string {
	return []string{"k3s reads the files when it starts, on every node: restart it"}
}
