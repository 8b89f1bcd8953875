package caddymodule

import (
	"context"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/fleet/redirect"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registry"
)

// redirects reports whether clients may be sent to the bucket for what an upstream has:
// everybody may have it who gets hold of a URL.
func (s *service) redirects(u *config.Upstream) bool {
	return s.app.bucket != nil && s.app.bucket.redirect != nil && !u.Isolated() && !u.Guarded() && u.Everybody()
}

// redirecting returns a mirror that sends clients to the bucket, if the configuration wants
// that.
func (s *service) redirecting(m *mirror.Mirror, c *cache) registry.Mirror {
	var names []string
	for _, u := range s.upstreams {
		if s.redirects(u) {
			names = append(names, u.Name)
		}
	}
	if len(names) == 0 {
		return m
	}
	b := s.app.bucket
	return redirect.New(redirect.Options{
		Mirror: m, MinSize: b.redirect.Least(), Shared: c.Fleet.Shared, Sent: c.Fleet.Used,
		Upstream: func(name string) bool { return slices.Contains(names, name) },
		Stored: func(ctx context.Context, d digest.Digest) bool {
			_, err := c.Fleet.Blobs().BlobSize(ctx, d)
			return err == nil
		},
		URL: func(ctx context.Context, key string) (string, error) {
			return b.objects.Presign(ctx, key, b.redirect.Endpoint, redirect.Lasting)
		},
	})
}
