package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
)

// sharedBucket is the bucket of a configuration. nil = it has none.
type sharedBucket struct {
	options  bucket.Options
	limits   fleet.Limits
	redirect *config.Redirect
	objects  bucket.Bucket
}

// bucketModule opens buckets. It is a module of its own since its SDK is large.
const bucketModule = "registry_mirror.buckets.s3"

// openBucket opens the bucket of a fleet, if there is one. It asks nobody.
func openBucket(ctx caddy.Context, f *config.Fleet) (*sharedBucket, error) {
	if f == nil || !f.HasBucket() {
		return nil, nil
	}
	o, err := f.Options()
	if err != nil {
		return nil, err
	}
	module, err := ctx.LoadModuleByID(bucketModule, nil)
	if err != nil {
		return nil, fmt.Errorf("fleet: %w: build with the module github.com/pullgate/pullgate/caddymodule/s3", err)
	}
	opener, ok := module.(interface {
		OpenBucket(bucket.Options) (bucket.Bucket, error)
	})
	if !ok {
		return nil, fmt.Errorf("fleet: %s opens no buckets", bucketModule)
	}
	objects, err := opener.OpenBucket(o)
	if err != nil {
		return nil, err
	}
	return &sharedBucket{o, fleet.Limits{MaxSize: f.MaxSize, MaxUnused: time.Duration(f.MaxUnused)}, f.Redirect, objects}, nil
}

// equal reports whether it makes no difference which of the two is used. What is known of
// a bucket, and waits to go there, outlives a reload then.
func (b *sharedBucket) equal(other *sharedBucket) bool {
	return b == other || b != nil && other != nil && b.options == other.options
}

// use makes it that of a fleet.
func (b *sharedBucket) use(f *fleet.Fleet) {
	if b == nil {
		f.Use("", nil)
	} else {
		f.Use(b.options.URL, b.objects)
	}
}

// limit makes its limits those of a fleet.
func (b *sharedBucket) limit(f *fleet.Fleet) {
	if b != nil {
		f.SetLimits(b.limits)
	}
}

// close closes the connections to it.
func (b *sharedBucket) close() {
	if b != nil {
		b.objects.Close()
	}
}
