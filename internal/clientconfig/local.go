package clientconfig

// What runs Kubernetes on one machine: kind, k3d and minikube. Their nodes are
// containers or virtual machines.

// loopbackStep warns of an endpoint that means the node itself.
func loopbackStep(o Options, steps ...string) []string {
	if o.loopback() {
		steps = append(steps, "on a node, "+o.Endpoint.Hostname()+" is the node itself: give an endpoint that it reaches, such as the address of this machine")
	}
	return steps
}

const kindFolder = "certs.d"

// kind makes a cluster that mounts the files for containerd. Its node images have
// the patch without saying since v0.27.0 (kind.sigs.k8s.io: Private Registries). The
// fields are those of pkg/apis/config/v1alpha4/types.go in kubernetes-sigs/kind.
func kind(o Options) ([]File, error) {
	mount := object{{"hostPath", "./" + kindFolder}, {"containerPath", "/etc/containerd/certs.d"}, {"readOnly", true}}
	files, err := yamlFile("kind.yaml", object{
		{"kind", "Cluster"},
		{"apiVersion", "kind.x-k8s.io/v1alpha4"},
		{"nodes", []object{{{"role", "control-plane"}, {"extraMounts", []object{mount}}}}},
		{"containerdConfigPatches", []string{
			"[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  config_path = \"/etc/containerd/certs.d\"\n",
		}},
	})
	if err != nil {
		return nil, err
	}
	hosts, err := hostsFiles(o)
	return append(files, below(kindFolder, hosts)...), err
}

func kindSteps(o Options) []string {
	return loopbackStep(o,
		"write the files with --out, and there: kind create cluster --config kind.yaml; a cluster that is there already does not take them",
		"kind.yaml has one node: give each further one the same extraMounts",
	)
}

// k3d makes the configuration of a cluster and registries.yaml of k3s, which it
// names rather than holds: k3d replaces $NAME in its own file, and a password may
// have that (docs/usage/configfile.md). For the same reason the certificate can be
// mounted by an absolute path, which Docker demands. The fields are those of
// pkg/config/v1alpha5/types.go in k3d-io/k3d.
func k3d(o Options) ([]File, error) {
	nodes := field{"nodeFilters", []string{"server:*", "agent:*"}}
	conf := object{{"apiVersion", "k3d.io/v1alpha5"}, {"kind", "Simple"}}
	if len(o.Authority) > 0 {
		volume := "${PWD}/" + k3sAuthority + ":" + k3s().directory + "/" + k3sAuthority
		conf = append(conf, field{"volumes", []object{{{"volume", volume}, nodes}}})
	}
	conf = append(conf, field{"registries", object{{"config", k3sFile}}})
	if o.SkipFallback {
		arguments := []object{{{"arg", "--" + k3sNoDefault}, nodes}}
		conf = append(conf, field{"options", object{{"k3s", object{{"extraArgs", arguments}}}}})
	}
	files, err := yamlFile("k3d.yaml", conf)
	if err != nil {
		return nil, err
	}
	registries, err := k3s().registries(o)
	return append(files, registries...), err
}

func k3dSteps(o Options) []string {
	return loopbackStep(o,
		"write the files with --out, and there: k3d cluster create --config k3d.yaml; a cluster that is there already does not take them")
}

// minikube makes the files for containerd, where minikube copies them onto its
// nodes from (kubernetes/minikube: site/content/en/docs/handbook/filesync.md).
func minikube(o Options) ([]File, error) {
	files, err := hostsFiles(o)
	return below("files/etc/containerd/certs.d", files), err
}

// The address of a mirror must have no path there (cmd/minikube/cmd/start.go).
func minikubeSteps(o Options) []string {
	start := "minikube start --container-runtime=docker --registry-mirror=" + o.root()
	if o.Endpoint.Scheme == "http" {
		start += " --insecure-registry=" + o.Endpoint.Host
	}
	return loopbackStep(o,
		"minikube copies the files when it starts: minikube start --container-runtime=containerd",
		"with CRI-O, put the files of client-config crio below ~/.minikube/files/etc instead",
		"with Docker, minikube mirrors docker.io only, and without a path: make docker.io the gateway's default, and "+start,
	)
}
