//go:build integration

package integration

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// containersConfig is the configuration that podman and skopeo share.
type containersConfig struct {
	registries, auth string
	// certificates is the folder of the gateway's authority; "" without TLS.
	certificates string
}

// writeContainersConfig makes the gateway the mirror of docker.io. The
// registry itself is dead: no pull goes around the gateway.
func writeContainersConfig(t *testing.T, g *gateway) containersConfig {
	t.Helper()
	dir := t.TempDir()
	c := containersConfig{
		registries: writeFile(t, fmt.Sprintf(`unqualified-search-registries = []
[[registry]]
prefix = "docker.io"
location = "127.0.0.1:%s"
insecure = true
[[registry.mirror]]
location = "%s/proxy-docker.io"
insecure = %t
`, freePort(t), g.host, !g.tls), dir, "registries.conf"),
		auth: writeFile(t, "{}", dir, "auth.json"),
	}
	if g.tls {
		c.certificates = filepath.Dir(g.ca)
	}
	if g.auth {
		secret := base64.StdEncoding.EncodeToString([]byte(g.username + ":" + g.secret))
		writeFile(t, fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, g.host, secret), c.auth)
	}
	return c
}

type podman struct {
	root, certificates string
	env                []string
	within             []string // what its command line starts with
}

func newPodman(t *testing.T, g *gateway) client {
	t.Helper()
	c := writeContainersConfig(t, g)
	return &podman{
		root: shortDir(t), certificates: c.certificates,
		env: []string{"CONTAINERS_REGISTRIES_CONF=" + c.registries, "REGISTRY_AUTH_FILE=" + c.auth},
	}
}

func (p *podman) podman(t *testing.T, args ...string) string {
	t.Helper()
	// Without systemd, and with nothing of the machine's own podman.
	line := slices.Concat(p.within, []string{
		"podman", "--root", filepath.Join(p.root, "root"), "--runroot", filepath.Join(p.root, "run"),
		"--tmpdir", filepath.Join(p.root, "tmp"), "--storage-driver", "vfs", "--runtime", "runc",
		"--cgroup-manager", "cgroupfs", "--events-backend", "file",
	}, args)
	return run(t, p.env, line[0], line[1:]...)
}

func (p *podman) pull(t *testing.T) digest.Digest {
	t.Helper()
	return p.pullImage(t, imageReference, testImage(t).index.Digest)
}

// pullImage returns the digest that is wanted, if the image has it.
func (p *podman) pullImage(t *testing.T, reference string, want digest.Digest) digest.Digest {
	t.Helper()
	args := []string{"pull", "--quiet"}
	if p.certificates != "" {
		args = append(args, "--cert-dir", p.certificates)
	}
	p.podman(t, append(args, reference)...)
	// It knows the image under the digests of its index and of its manifest.
	digests := p.podman(t, "image", "inspect", "--format", "{{range .RepoDigests}}{{.}} {{end}}", reference)
	for name := range strings.FieldsSeq(digests) {
		if _, d, _ := strings.Cut(name, "@"); digest.Digest(d) == want {
			return want
		}
	}
	return digest.Digest("none of " + digests)
}

func (p *podman) forget(t *testing.T) {
	t.Helper()
	p.podman(t, "rmi", "--all", "--force")
}

type skopeo struct {
	containersConfig

	env    []string
	within []string // what its command line starts with
}

func newSkopeo(t *testing.T, g *gateway) client {
	t.Helper()
	return &skopeo{containersConfig: writeContainersConfig(t, g)}
}

func (s *skopeo) pull(t *testing.T) digest.Digest {
	t.Helper()
	return s.pullImage(t, imageReference)
}

func (s *skopeo) pullImage(t *testing.T, reference string) digest.Digest {
	t.Helper()
	dir := t.TempDir()
	line := append(slices.Clone(s.within), "skopeo")
	if s.registries != "" {
		line = append(line, "--registries-conf", s.registries)
	}
	line = append(line, "copy", "--quiet", "--all", "--preserve-digests")
	if s.auth != "" {
		line = append(line, "--src-authfile", s.auth)
	}
	if s.certificates != "" {
		line = append(line, "--src-cert-dir", s.certificates)
	}
	line = append(line, "docker://"+reference, "oci:"+dir+":"+imageTag)
	run(t, s.env, line[0], line[1:]...)
	return digestOfLayout(t, dir)
}

// forget has nothing to do: each pull has a folder of its own.
func (s *skopeo) forget(*testing.T) {}
