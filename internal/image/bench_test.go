package image_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// BenchmarkVerify verifies 200 images, or as many as PULLGATE_IMAGES says, each
// of an index, a manifest, a config and ten layers, none of which they share. It
// reports images per second, and how long ten thousand take.
func BenchmarkVerify(b *testing.B) {
	n := 200
	if s := os.Getenv("PULLGATE_IMAGES"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	o := storage.Options{Path: b.TempDir()}
	store, err := storage.Open(b.Context(), o)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { store.Close() }()
	wants := make([]image.Want, n)
	var serial atomic.Uint64
	var group errgroup.Group
	group.SetLimit(32)
	for i := range wants {
		scope := oci.Scope{Upstream: "docker.io", Repository: fmt.Sprintf("library/app%d", i%100)}
		tag := strconv.Itoa(i)
		wants[i] = image.Want{
			Image:  imagelist.Image{Upstream: scope.Upstream, Repository: scope.Repository, Tag: tag},
			Scopes: []oci.Scope{scope},
		}
		group.Go(func() error { return putImage(store, scope, tag, &serial) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	// A command finds the index in its files, not in memory.
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
	if store, err = storage.Open(b.Context(), o); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, totals, err := image.Verify(b.Context(), store, wants, image.VerifyOptions{}); err != nil || totals.Complete != n || totals.Blobs != int64(11*n) {
			b.Fatalf("%+v, %v", totals, err)
		}
	}
	perImage := b.Elapsed() / time.Duration(b.N*n)
	b.ReportMetric(float64(time.Second/perImage), "images/s")
	b.ReportMetric((10_000 * perImage).Seconds(), "s/10000images")
}

func putImage(store *storage.Store, scope oci.Scope, tag string, serial *atomic.Uint64) error {
	m := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for i := range 11 {
		content := binary.BigEndian.AppendUint64(nil, serial.Add(1))
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: oci.Sum(content), Size: int64(len(content))}
		p, err := store.Part(context.Background(), scope, d.Digest, d.Size)
		if err != nil {
			return err
		}
		if _, err := p.WriteAt(content, 0); err != nil {
			return err
		}
		if err := p.Commit(d.Size); err != nil {
			return err
		}
		if err := p.Close(); err != nil {
			return err
		}
		if i == 0 {
			d.MediaType, m.Config = ocispec.MediaTypeImageConfig, d
		} else {
			m.Layers = append(m.Layers, d)
		}
	}
	if err := store.Link(context.Background(), scope, append(m.Layers, m.Config)...); err != nil {
		return err
	}
	child, err := put(store, scope, m.MediaType, m)
	if err != nil {
		return err
	}
	child.Platform = &ocispec.Platform{OS: "linux", Architecture: "amd64"}
	index, err := put(store, scope, ocispec.MediaTypeImageIndex, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{child},
	})
	if err != nil {
		return err
	}
	return store.PutTag(context.Background(), scope, tag, storage.Tag{Digest: index.Digest, MediaType: index.MediaType, Size: index.Size})
}

func put(store *storage.Store, scope oci.Scope, mediaType string, v any) (ocispec.Descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	mf := oci.Manifest{MediaType: mediaType, Digest: oci.Sum(raw), Bytes: raw}
	return mf.Descriptor(), store.PutManifest(context.Background(), scope, mf, nil)
}
