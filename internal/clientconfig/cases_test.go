package clientconfig_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/clientconfig"
)

// address is a case of what people have: the endpoint, the upstreams beside
// docker.io and what the gateway calls them.
type address struct {
	name, endpoint string
	upstream       string
	names          map[string]string
	loggedIn       bool
	// at is the root of the API as clients spell it, and path what stands for the
	// upstream there.
	at, path string
	// otherwise is the root for clients that differ.
	otherwise map[string]string
	// refused tells what the clients say that cannot do it.
	refused map[string]string
}

func addresses() []address {
	noV6 := map[string]string{"podman": "give the gateway a name", "crio": "give the gateway a name"}
	noUnderscore := map[string]string{
		"podman": "no image reference can hold the host my_gate", "crio": "no image reference can hold the host my_gate",
		"docker": "no image reference can hold the host my_gate",
	}
	noColon := map[string]string{"podman": "say harbor.corp:8443=harbor.corp-8443 here", "crio": "alias harbor.corp-8443"}
	word := func(root string) map[string]string {
		return map[string]string{"podman": root, "crio": root, "docker": root}
	}
	return []address{
		{name: "host and port", endpoint: "http://gate.lan:5000", at: "http://gate.lan:5000"},
		{name: "slash", endpoint: "http://gate.lan:5000/", at: "http://gate.lan:5000"},
		{name: "slashes", endpoint: "https://gate.lan:5443//", at: "https://gate.lan:5443"},
		{name: "no port", endpoint: "https://gate.lan", at: "https://gate.lan"},
		{name: "empty port", endpoint: "https://gate.lan:", at: "https://gate.lan"},
		{name: "port 80", endpoint: "http://gate.lan:80", at: "http://gate.lan:80"},
		{name: "port 443", endpoint: "https://gate.lan:443", at: "https://gate.lan:443"},
		{name: "port of the other scheme", endpoint: "http://gate.lan:443", at: "http://gate.lan:443"},
		{name: "upper case", endpoint: "HTTPS://Gate.LAN:5443", at: "https://gate.lan:5443"},
		{name: "localhost", endpoint: "http://localhost:5000", at: "http://localhost:5000"},
		{name: "localhost without port", endpoint: "http://localhost", at: "http://localhost"},
		{name: "localhost over TLS", endpoint: "https://localhost:5443", at: "https://localhost:5443"},
		{name: "IPv4", endpoint: "http://192.0.2.1:5000", at: "http://192.0.2.1:5000"},
		{name: "IPv4 loopback over TLS", endpoint: "https://127.0.0.2:5443", at: "https://127.0.0.2:5443"},
		{name: "word and port", endpoint: "http://gate:5000", at: "http://gate:5000"},
		{name: "word", endpoint: "http://gate", at: "http://gate", otherwise: word("http://gate:80")},
		{name: "word over TLS", endpoint: "https://gate", at: "https://gate", otherwise: word("https://gate:443")},
		{name: "underscore", endpoint: "http://my_gate:5000", at: "http://my_gate:5000", refused: noUnderscore},
		{name: "IPv6", endpoint: "http://[fd00::1]:5000", at: "http://[fd00::1]:5000", refused: noV6},
		{
			name: "IPv6 without port", endpoint: "https://[fd00::1]", at: "https://[fd00::1]", refused: noV6,
			otherwise: map[string]string{"docker": "https://[fd00::1]:443"},
		},
		{name: "IPv6 loopback over TLS", endpoint: "https://[::1]:5443", at: "https://[::1]:5443", refused: noV6},
		{name: "upstream with port", endpoint: "http://gate.lan:5000", upstream: "harbor.corp:8443", at: "http://gate.lan:5000", refused: noColon},
		{
			name: "upstream with port and alias", endpoint: "http://gate.lan:5000", upstream: "harbor.corp:8443",
			names: map[string]string{"harbor.corp:8443": "harbor"}, at: "http://gate.lan:5000", path: "proxy-harbor",
		},
		{
			name: "alias with port", endpoint: "http://gate.lan:5000", upstream: "harbor.corp",
			names: map[string]string{"harbor.corp": "harbor.corp:8443"}, at: "http://gate.lan:5000", path: "proxy-harbor.corp:8443",
			refused: map[string]string{"podman": "say harbor.corp=harbor.corp-8443 here", "crio": "no image reference can hold proxy-harbor.corp:8443"},
		},
		{
			name: "user", endpoint: "https://gate.lan:5443", loggedIn: true, at: "https://gate.lan:5443",
			refused: map[string]string{"buildkit": "takes credentials from its clients"},
		},
		{
			name: "user, word", endpoint: "http://gate", loggedIn: true, at: "http://gate", otherwise: word("http://gate:80"),
			refused: map[string]string{"buildkit": "takes credentials from its clients"},
		},
	}
}

func (a address) options(t *testing.T) clientconfig.Options {
	t.Helper()
	o := clientconfig.Options{Endpoint: endpoint(t, a.endpoint), Upstreams: []string{"docker.io"}, Names: a.names}
	if a.upstream != "" {
		o.Upstreams = append(o.Upstreams, a.upstream)
	}
	if a.loggedIn {
		o.Username, o.Password = "node", "pull $secret"
	}
	if o.Endpoint.Scheme == "https" {
		o.Authority = authority(t)
	}
	return o
}

// want is where a client has to go.
func (a address) want(client string, o clientconfig.Options) pulled {
	root := a.at
	if other := a.otherwise[client]; other != "" {
		root = other
	}
	want := pulled{}
	for _, upstream := range o.Upstreams {
		component := "proxy-" + upstream
		if upstream == a.upstream && a.path != "" {
			component = a.path
		}
		want[upstream] = root + "/v2/" + component + manifest
	}
	if client == "docker" && o.Username == "" {
		want["daemon.json"] = root + "/proxy-docker.io/v2" + manifest
	}
	return want
}

// Every client goes where the gateway serves the registry, or the command says
// what to do instead.
func TestAddresses(t *testing.T) {
	for _, a := range addresses() {
		for _, client := range clientconfig.Clients() {
			t.Run(a.name+"/"+client.Name, func(t *testing.T) {
				o := a.options(t)
				files, err := client.Files(o)
				if refusal := a.refused[client.Name]; refusal != "" {
					if err == nil || !strings.Contains(err.Error(), refusal) {
						t.Fatalf("error %v, want %q", err, refusal)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					parses(t, f)
				}
				if got, want := reads(t, client.Name, o, files), a.want(client.Name, o); got.String() != want.String() {
					t.Errorf("the client goes to\n%swant\n%s", got, want)
				}
			})
		}
	}
}

// The credentials and the certificate lie where the client looks for them: under
// the host as it spells it.
func TestOneWordHasAPortThroughout(t *testing.T) {
	for _, client := range []string{"podman", "crio"} {
		c, _ := clientconfig.Find(client)
		o := address{endpoint: "https://gate", loggedIn: true}.options(t)
		files, err := c.Files(o)
		if err != nil {
			t.Fatal(err)
		}
		certificate := slices.ContainsFunc(files, func(f clientconfig.File) bool { return strings.HasSuffix(f.Path, "certs.d/gate:443/ca.crt") })
		login := slices.ContainsFunc(files, func(f clientconfig.File) bool {
			return strings.HasSuffix(f.Path, "auth.json") && strings.Contains(string(f.Content), `"gate:443": {`)
		})
		if !certificate || !login {
			t.Errorf("%s: certificate %t, login %t under gate:443", client, certificate, login)
		}
	}
}

// Docker's notes give references that it can pull, or the cure.
func TestDockerNotes(t *testing.T) {
	docker, _ := clientconfig.Find("docker")
	for _, c := range []struct{ endpoint, upstream, alias, want string }{
		{"http://gate:5000", "ghcr.io", "", "pull images of ghcr.io as gate:5000/proxy-ghcr.io/NAME"},
		{"http://gate", "ghcr.io", "", "pull images of ghcr.io as gate:80/proxy-ghcr.io/NAME"},
		{"https://gate", "ghcr.io", "", "pull images of ghcr.io as gate:443/proxy-ghcr.io/NAME"},
		{"http://[fd00::1]:5000", "ghcr.io", "", "pull images of ghcr.io as [fd00::1]:5000/proxy-ghcr.io/NAME"},
		{"https://my_gate", "ghcr.io", "", "no image reference can hold the host my_gate"},
		{"http://gate:5000", "harbor.corp:8443", "", "give the upstream an alias"},
		{"http://gate:5000", "harbor.corp:8443", "harbor", "pull images of harbor.corp:8443 as gate:5000/proxy-harbor/NAME"},
	} {
		o := clientconfig.Options{
			Endpoint: endpoint(t, c.endpoint), Upstreams: []string{"docker.io", c.upstream}, Names: map[string]string{c.upstream: c.alias},
		}
		if steps := strings.Join(docker.Steps(o), "\n"); !strings.Contains(steps, c.want) || !strings.Contains(steps, "Docker 28.0") {
			t.Errorf("%s, %s=%s: want %q and the version in\n%s", c.endpoint, c.upstream, c.alias, c.want, steps)
		}
	}
}

// What daemon.json cannot say is left to the files of the containerd image store.
func TestDockerWithoutADaemonFile(t *testing.T) {
	docker, _ := clientconfig.Find("docker")
	base := clientconfig.Options{Endpoint: endpoint(t, "https://gate.lan"), Upstreams: []string{"docker.io"}}
	user, alone, other := base, base, base
	user.Username, user.Password = "node", "secret"
	alone.SkipFallback = true
	other.Upstreams = []string{"ghcr.io"}
	for name, o := range map[string]clientconfig.Options{"user": user, "skip_fallback": alone, "ghcr.io only": other} {
		files, err := docker.Files(o)
		if err != nil || there(files, "daemon.json") || !there(files, "certs.d/"+o.Upstreams[0]+"/hosts.toml") {
			t.Errorf("%s: %d files (%v), want a hosts.toml and no daemon.json", name, len(files), err)
		}
	}
}

// What people have to know beside the files.
func TestSteps(t *testing.T) {
	for _, c := range []struct {
		client, endpoint string
		loggedIn         bool
		want             string
	}{
		{"containerd", "http://gate", false, `"referrers" to capabilities`},
		{"nerdctl", "http://gate", false, "~/.config/containerd/certs.d"},
		{"microk8s", "http://gate", false, "--force"},
		{"crio", "http://gate", true, "takes the place of any other"},
		{"crio", "http://gate", true, "imagePullSecret"},
		{"buildkit", "https://gate", false, "mount it there into a container"},
		{"buildkit", "http://localhost:5000", false, "network=host"},
		{"kind", "http://localhost:5000", false, "is the node itself"},
		{"k3d", "http://127.0.0.1:5000", false, "is the node itself"},
		{"minikube", "http://[::1]:5000", false, "is the node itself"},
		{"minikube", "http://gate:5000", false, "--registry-mirror=http://gate:5000 --insecure-registry=gate:5000"},
		{"rke2", "http://gate", false, "rke2-agent"},
	} {
		client, ok := clientconfig.Find(c.client)
		o := address{endpoint: c.endpoint, loggedIn: c.loggedIn}.options(t)
		if steps := strings.Join(client.Steps(o), "\n"); !ok || !strings.Contains(steps, c.want) {
			t.Errorf("%s at %s: want %q in\n%s", c.client, c.endpoint, c.want, steps)
		}
	}
}
