// Package s3 is the Caddy module with which a fleet opens its bucket. It brings Amazon's
// SDK, so a Caddy without it is smaller.
package s3

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/bucket/s3client"
)

func init() {
	caddy.RegisterModule(S3{})
}

// S3 opens buckets of S3 servers for the option fleet of the app registry_mirror. It has
// no options of its own.
type S3 struct{}

// CaddyModule returns the Caddy module information.
func (S3) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "registry_mirror.buckets.s3", New: func() caddy.Module { return new(S3) }}
}

// OpenBucket opens a bucket. It asks nobody.
func (S3) OpenBucket(o bucket.Options) (bucket.Bucket, error) { return s3client.Open(o) }
