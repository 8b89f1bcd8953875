//go:build integration

package integration

import (
	"net/http"
	"sync"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/opencontainers/go-digest"
)

// resolverClient is the resolver of containerd 2 as a library, the way Talos
// uses it before containerd is up. Debian 12 has containerd 1.6 only.
type resolverClient struct {
	options config.HostOptions
	// chunk is concurrent_layer_fetch_buffer; 0 = off.
	chunk int

	mu   sync.Mutex
	used []*http.Client // since the last pull
}

func newResolver(t *testing.T, g *gateway, style hostsStyle, chunk int) client {
	t.Helper()
	dir := writeHosts(t, g, style)
	c := &resolverClient{chunk: chunk}
	c.options = config.HostOptions{
		HostDir:      config.HostDirFromRoot(dir),
		UpdateClient: c.use,
		Credentials: func(host string) (string, string, error) {
			if host == g.host {
				return g.username, g.secret, nil
			}
			return "", "", nil
		},
	}
	return c
}

// use takes note of a client.
func (c *resolverClient) use(used *http.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used = append(c.used, used)
	return nil
}

// disconnect closes what a pull has left open. A process would end here; and a
// gateway that shuts down gives unused connections five seconds.
func (c *resolverClient) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, used := range c.used {
		used.CloseIdleConnections()
	}
	c.used = nil
}

func (c *resolverClient) pull(t *testing.T) digest.Digest {
	t.Helper()
	defer c.disconnect()
	ctx := t.Context()
	store, err := local.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, c.options)})
	if c.chunk > 0 {
		resolver.(remotes.ResolverWithOptions).SetOptions(
			transfer.WithConcurrentLayerFetchBuffer(c.chunk), transfer.WithMaxConcurrentDownloads(4),
		)
	}
	name, descriptor, err := resolver.Resolve(ctx, imageReference)
	if err != nil {
		t.Fatal(err)
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	// The store verifies size and digest of everything that it takes.
	handler := images.Handlers(remotes.FetchHandler(store, fetcher), images.ChildrenHandler(store))
	if err := images.Dispatch(ctx, handler, nil, descriptor); err != nil {
		t.Fatal(err)
	}
	return descriptor.Digest
}

// forget has nothing to do: each pull has a store of its own.
func (c *resolverClient) forget(*testing.T) {}
