package fleet_test

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// deaf is a bucket that tells of no purge.
type deaf struct {
	*memory

	on atomic.Bool
}

func (d *deaf) Head(ctx context.Context, key string) (bucket.Info, error) {
	if d.on.Load() && key == "v1/news" {
		return bucket.Info{}, fs.ErrNotExist
	}
	return d.memory.Head(ctx, key)
}

func (d *deaf) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Info, error] {
	if d.on.Load() && prefix == "v1/x/" {
		return func(func(bucket.Info, error) bool) {}
	}
	return d.memory.List(ctx, prefix, after)
}

// What a gateway answers that has not heard of a purge proves nothing to one that has.
func TestPeersThatHaveNotHeardProveNothing(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 300<<10)
	h, ears := &herd{t: t, every: patience}, map[*gateway]*deaf{}
	for range 3 {
		d := &deaf{memory: m}
		g := newGateway(t, from, d)
		ears[g] = d
		h.add(g)
	}
	h.start()
	for _, g := range h.gateways {
		g.pull(image, 0)
		g.settled(0)
	}
	uploaded(t, m, image)
	layer := image.Platforms[0].Layers[1].Digest
	owner, others := h.owner(layer.String())
	ears[owner].on.Store(true)
	from.Refuse()
	others[0].rm("docker.io/" + repository)
	others[1].fleet.Pause()
	others[1].nothing("one that has heard of it", image)
	if raw, _, err := owner.blob(repository, layer); err != nil || !oci.Verify(layer, raw) {
		t.Errorf("one that has not heard of it: %v", err)
	}
	ears[owner].on.Store(false)
	owner.fleet.Pause()
	owner.nothing("it, once it has", image)
	if keys := m.keys("v1/l/"); len(keys) > 0 {
		t.Errorf("the bucket has %v", keys)
	}
}

// A download that runs while its blob is removed proves nothing to other gateways either,
// nor to who follows it there.
func TestPeersDoNotFollowWhatWasBegunBeforeAPurge(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	d := from.PutRandom(repository, 1, 4<<20)
	h := newHerd(t, from, 2, m)
	owner, others := h.owner(d.String())
	begun, release := held(from, d)
	done := make(chan error, 1)
	go func() { done <- owner.verify(d) }()
	<-begun
	others[0].rm("docker.io/" + repository)
	from.DeleteBlob(repository, d)
	if raw, status, err := others[0].blob(repository, d); !oci.IsNotFound(err) {
		t.Errorf("%d bytes, %v, %v", len(raw), status, err)
	}
	release()
	if err := <-done; err != nil {
		t.Errorf("the download: %v", err)
	}
	owner.settled(0)
	for _, g := range h.gateways {
		if raw, status, err := g.blob(repository, d); !oci.IsNotFound(err) {
			t.Errorf("afterwards: %d bytes, %v, %v", len(raw), status, err)
		}
	}
}

// An owner that has not heard of a purge looks for it when it is asked, and then has the
// upstream say anew what it has, for all.
func TestPeersLookForPurges(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 300<<10)
	h := newHerd(t, from, 2, m)
	h.pull(2, image)
	for _, g := range h.gateways {
		g.settled(0)
	}
	p := image.Platforms[0]
	for n, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		owner, others := h.owner(d.Digest.String())
		others[0].rm(fmt.Sprintf("docker.io/%s@%s", repository, d.Digest))
		if _, status, err := others[0].blob(repository, d.Digest); err != nil || !strings.HasSuffix(status.String(), "detail=peer") {
			t.Errorf("blob %d: %v, %v", n, status, err)
		}
		if err := owner.verify(d.Digest); err != nil {
			t.Errorf("blob %d of its owner: %v", n, err)
		}
	}
}
