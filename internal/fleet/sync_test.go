package fleet_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// A gateway that is older than the bucket brings all that it has there, once.
func TestSync(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	g := newGateway(t, from, nil)
	images := []registrytest.Image{from.PutImage(repository, "3", 1, 10, 2<<20), from.PutImage("team-a/app", "1", 2, 20)}
	for _, image := range images {
		g.pull(image, 0)
	}
	g.stored()
	if _, err := g.fleet.Sync(t.Context(), nil); !errors.Is(err, fleet.ErrNoBucket) {
		t.Errorf("without a bucket: %v", err)
	}
	g.fleet.Use("memory", m)
	told := 0 // by one goroutine, which has ended with Sync
	synced, err := g.fleet.Sync(t.Context(), func(fleet.Synced) { told++ })
	// Of each image: config and layers, index and manifest, proofs of all of them, and a tag.
	if err != nil || synced.Blobs != 5 || synced.Links != 9 || synced.Tags != 2 || synced.Uploaded != 5+9+2 || synced.Bytes < 2<<20 || told == 0 {
		t.Errorf("%+v, %v", synced, err)
	}
	again, err := g.fleet.Sync(t.Context(), nil)
	if err != nil || again.Uploaded != 0 || again.Blobs != 5 {
		t.Errorf("again: %+v, %v", again, err)
	}
	from.Refuse()
	empty := newGateway(t, from, m)
	for _, image := range images {
		empty.pull(image, 0)
	}
}

// A sync that is interrupted goes on with what is missing.
func TestSyncGoesOn(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	g := newGateway(t, from, nil)
	image := from.PutImage(repository, "3", 1, 10, 20, 30)
	g.pull(image, 0)
	g.stored()
	g.fleet.Use("memory", m)
	ctx, cancel := context.WithCancel(t.Context())
	var writes atomic.Int64
	m.fail(fault{}, fault{answer: func(context.Context) error {
		if writes.Add(1) == 3 {
			cancel()
		}
		return nil
	}})
	if synced, err := g.fleet.Sync(ctx, nil); err == nil {
		t.Errorf("it is not interrupted: %+v", synced)
	}
	m.fail(fault{}, fault{})
	before := len(m.keys(""))
	synced, err := g.fleet.Sync(t.Context(), nil)
	if err != nil || before == 0 || synced.Failed > 0 {
		t.Errorf("%d objects before: %+v, %v", before, synced, err)
	}
	from.Refuse()
	newGateway(t, from, m).pull(image, 0)
}
