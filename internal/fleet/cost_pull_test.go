package fleet_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// countedReads is a bucket that counts what pulls read of it.
type countedReads struct {
	*memory

	content, tags atomic.Int64
}

func (c *countedReads) Get(ctx context.Context, key string, offset, length int64) (bucket.Object, error) {
	c.note(key)
	return c.memory.Get(ctx, key, offset, length)
}

func (c *countedReads) Head(ctx context.Context, key string) (bucket.Info, error) {
	c.note(key)
	return c.memory.Head(ctx, key)
}

func (c *countedReads) note(key string) {
	switch kind := strings.TrimPrefix(key, "v1/"); {
	case strings.HasPrefix(kind, "t/"):
		c.tags.Add(1)
	case strings.HasPrefix(kind, "b/"), strings.HasPrefix(kind, "m/"), strings.HasPrefix(kind, "l/"):
		c.content.Add(1)
	}
}

// A gateway that has nothing asks the bucket twice for each object, and once for the tag;
// the page on fleets reckons with that.
func TestPullCostsTheBucketLittle(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 20, 30)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)
	await(t, "the tag is written", func() bool { return len(m.keys("v1/t/")) == 1 })
	c := &countedReads{memory: m}
	newGateway(t, from, c).pull(image, 0)
	const objects = 1 + 1 + 1 + 3 // index, manifest, configuration and layers
	await(t, "the tag is compared", func() bool { return c.tags.Load() > 0 })
	if content, tags := c.content.Load(), c.tags.Load(); content != 2*objects || tags != 1 {
		t.Errorf("%d reads of %d objects, and %d of one tag", content, objects, tags)
	}
}
