package mirror_test

import (
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// pullWhole pulls an image as a node does, all of its platforms.
func (f *fixture) pullWhole(image registrytest.Image) error {
	request := func(kind oci.Kind, ref oci.Reference) oci.Request {
		return oci.Request{Kind: kind, Upstream: upstreamName, Repository: image.Repository, Name: image.Repository, Reference: ref}
	}
	if m, _, err := f.mirror.Manifest(f.t.Context(), request(oci.KindManifest, oci.Reference{Tag: image.Tag})); err != nil || m.Digest != image.Index.Digest {
		return fmt.Errorf("pull tag %s: got %s, %w", image.Tag, m.Digest, err)
	}
	for _, p := range image.Platforms {
		if _, _, err := f.mirror.Manifest(f.t.Context(), request(oci.KindManifest, oci.Reference{Digest: p.Manifest.Digest})); err != nil {
			return err
		}
		for _, blob := range append(slices.Clip(p.Layers), p.Config) {
			raw, _, err := f.pull(f.t.Context(), request(oci.KindBlob, oci.Reference{Digest: blob.Digest}))
			if err == nil && digest.FromBytes(raw) != blob.Digest {
				err = fmt.Errorf("%d wrong bytes", len(raw))
			}
			if err != nil {
				return fmt.Errorf("pull blob %s: %w", blob.Digest, err)
			}
		}
	}
	return nil
}

// Many times as much as fits goes through a store, and a pinned image stays.
// PULLGATE_LONG makes it 1 GiB through 64 MiB.
func TestLoadThroughASmallStore(t *testing.T) {
	t.Parallel()
	most, load := int64(8*mib), int64(64*mib)
	if os.Getenv("PULLGATE_LONG") != "" {
		most, load = 64*mib, 1024*mib
	}
	const clients = 32
	f := newFixture(t)
	f.clock.run()
	pin, err := oci.ParsePin("docker.io/library/alpine:3.*")
	if err != nil {
		t.Fatal(err)
	}
	f.store.SetLimits(storage.Limits{MaxSize: most, Pins: []oci.Pin{pin}})
	pinned := f.upstream.PutImage(repository, "3.20", 1, mib, 100<<10)
	if err := f.pullWhole(pinned); err != nil {
		t.Fatal(err)
	}

	done := make(chan struct{})
	var watching, pulling sync.WaitGroup
	var peak, fills int64
	samples := 0
	watching.Go(func() {
		for {
			select {
			case <-f.ended: // nobody else waits for them
			case <-done:
				return
			default:
				time.Sleep(50 * time.Microsecond)
			}
			u := f.store.Usage()
			samples, peak, fills = samples+1, max(peak, u.BlobBytes), max(fills, u.FillBytes)
			if u.BlobBytes > most {
				t.Errorf("the store holds %d bytes beside fills of %d", u.BlobBytes, u.FillBytes)
				return
			}
		}
	})
	images := make(chan registrytest.Image)
	for range clients {
		pulling.Go(func() {
			for image := range images {
				if err := f.pullWhole(image); err != nil {
					t.Errorf("%s: %v", image.Repository, err)
				}
			}
		})
	}
	// The sizes are those of blobs that are verified whole, and of others.
	sizes := []int{3 * mib / 2, 300 << 10, 2000}
	var bytes int64
	n := 0
	for ; bytes < load; n++ {
		images <- f.upstream.PutImage(fmt.Sprint("load/app", n%7), fmt.Sprint("v", n), uint64(100+n), sizes...)
		for _, size := range sizes {
			bytes += 2 * int64(size)
		}
	}
	close(images)
	pulling.Wait()
	close(done)
	watching.Wait()
	u := f.store.Usage()
	t.Logf("%d images of %d MiB through %d MiB: at most %.1f MiB stored, fills of %.1f MiB at once, %d blobs evicted, %d samples",
		n, bytes>>20, most>>20, float64(peak)/mib, float64(fills)/mib, u.EvictedBlobs, samples)
	if u.EvictedBytes == 0 || samples == 0 {
		t.Errorf("usage is %+v", u)
	}
	f.upstream.Reset()
	if err := f.pullWhole(pinned); err != nil {
		t.Error(err)
	}
	f.saw(0, 0)
}
