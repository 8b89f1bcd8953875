//go:build integration

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/crane"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// fivePorts is the gateway of deploy/talos, in place of the five registries of the Talos
// guide, on other ports.
type fivePorts struct {
	ports      map[string]string // by the registry
	registries map[string]*registrytest.Server
}

// guide has the registries of the Talos guide, in the order of their ports from 5000.
var guide = []string{"docker.io", "registry.k8s.io", "quay.io", "gcr.io", "ghcr.io"}

// repositoryOf is where a registry alone has the image of these tests.
func repositoryOf(registry string) string { return "five/" + strings.ReplaceAll(registry, ".", "-") }

func startFivePorts(t *testing.T) *fivePorts {
	t.Helper()
	i := testImage(t)
	raw, err := os.ReadFile("../deploy/talos/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	caddyfile := string(raw)
	replace := func(old, replacement string) {
		t.Helper()
		if strings.Count(caddyfile, old) != 1 {
			t.Fatalf("deploy/talos/Caddyfile has not %q once", old)
		}
		caddyfile = strings.Replace(caddyfile, old, replacement, 1)
	}
	f := &fivePorts{ports: map[string]string{}, registries: map[string]*registrytest.Server{}}
	options := "default {args[0]}\n"
	for n, registry := range guide {
		server := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer})
		for d, manifest := range i.manifests {
			server.PutManifest(repositoryOf(registry), map[bool]string{true: imageTag}[d == i.index.Digest], manifest.mediaType, manifest.raw)
		}
		for _, blob := range i.blobs {
			server.PutBlob(repositoryOf(registry), blob.raw)
		}
		f.registries[registry], f.ports[registry] = server, freePort(t)
		options += fmt.Sprintf("\t\tupstream %s {\n\t\t\turl %s\n\t\t}\n", registry, server.URL())
		replace(fmt.Sprintf(":%d {\n\timport mirror %s\n", 5000+n, registry), fmt.Sprintf(":%s {\n\timport mirror %s\n", f.ports[registry], registry))
	}
	replace("default {args[0]}\n", options)
	// The socket lies in the home directory, and paths of sockets are short.
	dir := shortDir(t)
	config := writeFile(t, caddyfile, dir, "Caddyfile")
	p := start(t, []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, binary, "run", "--config", config)
	p.await(t, answers(insecureClient(), "http://127.0.0.1:"+f.ports["ghcr.io"]+"/v2/"))
	return f
}

// host is the address of the port that is for a registry.
func (f *fivePorts) host(registry string) string { return "127.0.0.1:" + f.ports[registry] }

// hosts writes containerd's configuration for a registry, as a machine configuration
// after the guide makes it: the mirror is a port, and the registry itself is dead.
func (f *fivePorts) hosts(t *testing.T, dir, registry, at string) {
	t.Helper()
	writeFile(t, fmt.Sprintf("server = \"http://127.0.0.1:%s\"\n[host.'http://%s']\n  capabilities = ['pull', 'resolve']\n",
		freePort(t), at), dir, registry, "hosts.toml")
}

// TestFivePorts: nodes that are set up after the Talos guide, and whatever else used its
// five registries, get from each port what that gave them.
func TestFivePorts(t *testing.T) {
	i, f := testImage(t), startFivePorts(t)
	reference := func(registry string) string { return "/" + repositoryOf(registry) + ":" + imageTag }
	each := func(t *testing.T, pull func(t *testing.T, registry string) string) {
		t.Helper()
		for _, registry := range guide {
			if got := pull(t, registry); got != i.index.Digest.String() {
				t.Errorf("%s: the client has %s, the registry %s", registry, got, i.index.Digest)
			}
		}
	}
	c := runContainerd(t)
	containerd := func(t *testing.T, reference string) string {
		t.Helper()
		defer func() {
			c.ctr(t, "images", "rm", "--sync", reference)
			c.ctr(t, "content", "prune", "references")
		}()
		return c.pullImage(t, reference).String()
	}
	t.Run("containerd with ns", func(t *testing.T) {
		c.hosts = t.TempDir()
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			f.hosts(t, c.hosts, registry, f.host(registry))
			return containerd(t, registry+reference(registry))
		})
		for registry, server := range f.registries {
			if server.Accepted("GET", "manifests") == 0 {
				t.Errorf("%s was not asked", registry)
			}
		}
	})
	t.Run("containerd with ns at another's port", func(t *testing.T) {
		c.hosts = t.TempDir()
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			at := guide[0]
			if registry == at {
				at = guide[1]
			}
			f.hosts(t, c.hosts, registry, f.host(at))
			return containerd(t, registry+reference(registry))
		})
	})
	t.Run("containerd without ns", func(t *testing.T) {
		c.hosts, c.user = t.TempDir(), []string{"--plain-http"}
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			return containerd(t, f.host(registry)+reference(registry))
		})
	})
	t.Run("skopeo", func(t *testing.T) {
		lines := ""
		for _, registry := range guide {
			lines += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n",
				registry, "127.0.0.1:"+freePort(t), f.host(registry))
		}
		s := &skopeo{containersConfig: containersConfig{registries: writeFile(t, lines, t.TempDir(), "registries.conf")}}
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			return s.pullImage(t, registry+reference(registry)).String()
		})
	})
	t.Run("crane", func(t *testing.T) {
		digestOf := func(t *testing.T, reference string) string {
			t.Helper()
			d, err := crane.Digest(reference, crane.Insecure, crane.WithContext(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := crane.Pull(reference, crane.Insecure, crane.WithContext(t.Context()))
			if err == nil {
				err = crane.Save(pulled, reference, filepath.Join(t.TempDir(), "image.tar"))
			}
			if err != nil {
				t.Error(err)
			}
			return d
		}
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			return digestOf(t, f.host(registry)+reference(registry))
		})
		each(t, func(t *testing.T, registry string) string {
			t.Helper()
			return digestOf(t, f.host(guide[0])+"/proxy-"+registry+reference(registry))
		})
	})
}
