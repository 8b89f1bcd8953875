//go:build integration

package integration

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// hostsStyle is how a hosts.toml leads to the gateway.
type hostsStyle int

const (
	// overridePath names the upstream in the path.
	overridePath hostsStyle = iota
	// bareAddress leaves it to containerd to send the upstream as ns.
	bareAddress
)

// writeHosts writes containerd's configuration of docker.io and returns the
// folder that it lies in. Its server is dead, so that no pull goes around the
// gateway.
func writeHosts(t *testing.T, g *gateway, style hostsStyle) string {
	t.Helper()
	url, lines := g.url(), ""
	if style == overridePath {
		url, lines = url+"/v2/proxy-docker.io", "    override_path = true\n"
	}
	if g.tls {
		lines += fmt.Sprintf("    ca = '%s'\n", g.ca)
	}
	dir := t.TempDir()
	writeFile(t, fmt.Sprintf(`server = "http://127.0.0.1:%s"
[host]
  [host.'%s']
    capabilities = ['pull', 'resolve']
%s`, freePort(t), url, lines), dir, "docker.io", "hosts.toml")
	return dir
}

// containerdClient is a containerd of its own and ctr, which resolves in its
// own process and so takes the hosts as a flag.
type containerdClient struct {
	socket, hosts string
	user          []string
	within        []string // what ctr's command line starts with
}

func startContainerd(t *testing.T, g *gateway, style hostsStyle) client {
	t.Helper()
	c := runContainerd(t)
	c.hosts = writeHosts(t, g, style)
	if g.auth {
		c.user = []string{"--user", g.username + ":" + g.secret}
	}
	return c
}

func runContainerd(t *testing.T) *containerdClient {
	t.Helper()
	dir := shortDir(t)
	c := &containerdClient{socket: filepath.Join(dir, "c.sock")}
	config := writeFile(t, fmt.Sprintf(`version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.restart",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = "%[2]s"
[ttrpc]
  address = "%[1]s/t.sock"
`, dir, c.socket), dir, "config.toml")
	daemon := start(t, nil, "containerd", "--config", config)
	daemon.await(t, socketAnswers(c.socket))
	c.ctr(t, "version")
	return c
}

func (c *containerdClient) ctr(t *testing.T, args ...string) string {
	t.Helper()
	line := slices.Concat(c.within, []string{"ctr", "-a", c.socket, "-n", "t", "--connect-timeout", "10s"}, args)
	return run(t, nil, line[0], line[1:]...)
}

func (c *containerdClient) pull(t *testing.T) digest.Digest {
	t.Helper()
	return c.pullImage(t, imageReference)
}

// pullImage unpacks too, so containerd has also compared the layers with the
// config's diff IDs.
func (c *containerdClient) pullImage(t *testing.T, reference string) digest.Digest {
	t.Helper()
	args := append([]string{"images", "pull", "--hosts-dir", c.hosts, "--snapshotter", "native"}, c.user...)
	c.ctr(t, append(args, reference)...)
	for line := range strings.Lines(c.ctr(t, "images", "ls", "name=="+reference)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == reference {
			return digest.Digest(fields[2])
		}
	}
	t.Fatal("ctr does not list the image that it has pulled")
	return ""
}

func (c *containerdClient) forget(t *testing.T) {
	t.Helper()
	c.ctr(t, "images", "rm", "--sync", imageReference)
	c.ctr(t, "content", "prune", "references")
	if left := c.ctr(t, "content", "ls", "-q"); left != "" {
		t.Fatalf("containerd still has content, so the next pull would not be a whole one:\n%s", left)
	}
}
