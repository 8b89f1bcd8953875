//go:build integration

package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"golang.org/x/crypto/bcrypt"
)

// configuredClient is a client that has nothing but what "mirror client-config" wrote.
type configuredClient struct {
	// arguments are those of the command; where the server is and the user come on top.
	arguments []string
	// directory below /etc is where the files go.
	directory string
	reached   []access
	// everything: it pulls all platforms, where the others pull the machine's.
	everything bool
	start      func(*testing.T, *node, *gateway) client
}

var (
	bothWays   = []access{plain, secure}
	secureOnly = []access{secure}

	configuredClients = []configuredClient{
		{[]string{"containerd"}, "containerd/certs.d", bothWays, false, configuredContainerd},
		{[]string{"containerd", "--skip-fallback"}, "containerd/certs.d", secureOnly, false, configuredContainerd},
		{[]string{"containerd", "--ns"}, "containerd/certs.d", secureOnly, false, configuredContainerd},
		{[]string{"containerd"}, "containerd/certs.d", bothWays, true, resolverOf("containerd/certs.d")},
		{[]string{"containerd", "--skip-fallback"}, "containerd/certs.d", secureOnly, true, resolverOf("containerd/certs.d")},
		{[]string{"containerd", "--ns"}, "containerd/certs.d", secureOnly, true, resolverOf("containerd/certs.d")},
		{[]string{"podman"}, "containers", bothWays, false, configuredPodman},
		{[]string{"podman", "--skip-fallback"}, "containers", secureOnly, false, configuredPodman},
		// CRI-O itself is not in Debian 12; skopeo reads what CRI-O would.
		{[]string{"crio"}, "", bothWays, true, configuredSkopeo},
		{[]string{"crio", "--skip-fallback"}, "", secureOnly, true, configuredSkopeo},
		// Debian's 20.10 refuses a mirror with a path.
		{[]string{"docker", "--ns"}, "docker", []access{plain, tlsOnly}, false, configuredDocker},
		// Docker 28.0 and newer read certs.d with the resolver of containerd.
		{[]string{"docker"}, "docker", bothWays, true, resolverOf("docker/certs.d")},
		{[]string{"docker", "--skip-fallback"}, "docker", secureOnly, true, resolverOf("docker/certs.d")},
	}
)

// TestClientConfig gives clients the files that the command writes, as they are:
// they pull through the gateway, also when the registry is gone.
func TestClientConfig(t *testing.T) {
	for _, c := range configuredClients {
		for _, reached := range c.reached {
			name := fmt.Sprintf("%s/%s/all=%t", strings.Join(c.arguments, " "), reached.name, c.everything)
			t.Run(name, func(t *testing.T) { testClientConfig(t, c, reached) })
		}
	}
}

func testClientConfig(t *testing.T, c configuredClient, reached access) {
	i, u := testImage(t), startDebianRegistry(t)
	g := startNamedGateway(t, reached, u)
	n := newNode(t)
	g.configure(t, c.arguments, filepath.Join(n.etc, c.directory))
	pulls := c.start(t, n, g)
	u.reset()
	for _, what := range []string{"cold", "with the registry stopped"} {
		if got := pulls.pull(t); got != i.index.Digest {
			t.Fatalf("%s: the client has %s, the registry %s", what, got, i.index.Digest)
		}
		u.stop()
		pulls.forget(t)
	}
	platforms := 1
	if c.everything {
		platforms = len(architectures)
	}
	assertCount(t, "GET of a manifest", u.count("GET", "manifests"), 1+platforms)
	assertCount(t, "GET of a blob", u.count("GET", "blobs"), platforms*(1+len(contents)))
}

// startNamedGateway starts a gateway that clients reach by its name, with the
// certificate of Caddy's own authority.
func startNamedGateway(t *testing.T, a access, u upstream) *gateway {
	t.Helper()
	return startSite(t, a, fmt.Sprintf("default docker.io\n\t\tupstream docker.io {\n\t\t\t%s\n\t\t}", u.caddyfile()))
}

// startSite starts a gateway that has the lines in its directive.
func startSite(t *testing.T, a access, lines string) *gateway {
	t.Helper()
	dir := t.TempDir()
	port := freePort(t)
	g := &gateway{
		access: a, host: gatewayName + ":" + port, config: filepath.Join(dir, "Caddyfile"),
		admin: "unix/" + filepath.Join(shortDir(t), "admin"), store: filepath.Join(dir, "cache"),
	}
	scheme, site := "http", ""
	if a.tls {
		scheme, site = "https", "\ttls internal\n"
	}
	if a.auth {
		g.username, g.secret = "node", `pull "secret"`
		hash, err := bcrypt.GenerateFromPassword([]byte(g.secret), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		site += fmt.Sprintf("\tbasic_auth {\n\t\t%s %s\n\t}\n", g.username, hash)
	}
	writeFile(t, fmt.Sprintf(`{
	admin %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	registry_mirror {
		storage %s
	}
}

%s://%s {
	bind ::1
%s	registry_mirror {
		%s
	}
}
`, g.admin, g.store, scheme, g.host, site, lines), g.config)
	g.run(t)
	if a.auth {
		response, err := insecureClient().Get(g.url() + "/v2/")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Fatalf("the gateway answers %s to nobody, want 401", response.Status)
		}
	}
	return g
}

// configure has the command write its files below a directory. The server is
// asked for everything but the user.
func (g *gateway) configure(t *testing.T, arguments []string, directory string) {
	t.Helper()
	line := append([]string{"mirror", "client-config"}, arguments...)
	line = append(line, "--address", g.admin, "--out", directory)
	if g.auth {
		password := writeFile(t, g.secret+"\n", t.TempDir(), "password")
		line = append(line, "--user", g.username, "--password-file", password)
	}
	t.Log(strings.TrimSpace(run(t, nil, binary, line...)))
}

func configuredContainerd(t *testing.T, n *node, _ *gateway) client {
	t.Helper()
	c := runContainerd(t)
	c.hosts, c.within = "/etc/containerd/certs.d", n.within()
	return c
}

// resolverOf starts the resolver of containerd with the files below a folder of
// /etc.
func resolverOf(folder string) func(*testing.T, *node, *gateway) client {
	return func(t *testing.T, n *node, _ *gateway) client {
		t.Helper()
		c := &resolverClient{}
		c.options = config.HostOptions{
			HostDir: config.HostDirFromRoot(filepath.Join(n.etc, folder)),
			UpdateClient: func(used *http.Client) error {
				used.Transport.(*http.Transport).DialContext = dialNamed
				return c.use(used)
			},
		}
		return c
	}
}

func configuredPodman(t *testing.T, n *node, g *gateway) client {
	t.Helper()
	p := &podman{root: shortDir(t), within: n.within(), env: n.env()}
	if g.auth {
		// Where the command says that it belongs.
		written, err := os.ReadFile(filepath.Join(n.etc, "containers/auth.json"))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, string(written), n.home, ".config/containers/auth.json")
	}
	return p
}

func configuredSkopeo(t *testing.T, n *node, g *gateway) client {
	t.Helper()
	s := &skopeo{within: n.within(), env: n.env()}
	if g.auth {
		s.auth = "/etc/crio/pullgate-auth.json"
	}
	return s
}

func configuredDocker(t *testing.T, n *node, _ *gateway) client {
	t.Helper()
	return runDocker(t, n.env(), n.within())
}
