package fleet_test

import (
	"bytes"
	"context"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// An object that has fewer bytes than it should is not served, and is replaced by who has
// it right.
func TestShortObjectsAreReplaced(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 2<<20)
	g := newGateway(t, from, m)
	g.pull(image, 0)
	uploaded(t, m, image)
	layer := image.Platforms[0].Layers[1]
	key := "v1/b/sha256/" + layer.Digest.Encoded()
	if err := m.Put(t.Context(), key, bytes.NewReader(nil), 0, bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	g.fleet.Use("", nil) // what is known of the bucket is forgotten, as at a restart
	g.fleet.Use("memory", m)
	if raw, _, err := newGateway(t, from, m).blob(repository, layer.Digest); err != nil || !oci.Verify(layer.Digest, raw) {
		t.Errorf("blob: %v", err)
	}
	if _, err := g.fleet.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if o, err := m.object(key); err != nil || !oci.Verify(layer.Digest, o.content) {
		t.Errorf("it has %d bytes of %d, %v", len(o.content), layer.Size, err)
	}
}

// refusing takes no object of some digest.
type refusing struct {
	*memory

	key string
}

func (r refusing) Put(ctx context.Context, key string, content io.ReadSeeker, size int64, o bucket.PutOptions) error {
	if key == r.key {
		return bucket.ErrRefused
	}
	return r.memory.Put(ctx, key, content, size, o)
}

// An object that the bucket refuses says nothing of the bucket: others go there, and that
// one is not tried again and again.
func TestRefusedObjectIsItsOwnFault(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 20, 30, 40)
	layers := image.Platforms[0].Layers
	b := refusing{m, "v1/b/sha256/" + layers[0].Digest.Encoded()}
	g := newGateway(t, from, b)
	for range 5 { // it does not become the bucket's fault by being asked for again
		g.pull(image, 0)
	}
	await(t, "uploads", func() bool { return len(m.keys("v1/b/")) == len(layers) && g.fleet.Status().Waiting == 0 })
	for range 5 {
		if synced, err := g.fleet.Sync(t.Context(), nil); err == nil || synced.Failed != 1 {
			t.Errorf("%+v, %v", synced, err)
		}
		if s := g.fleet.Status(); !s.OK() || s.Failures > 10 {
			t.Errorf("%+v", s)
		}
	}
}

// A comparison ends with the bucket that it is of, whatever waits for it.
func TestSyncEndsWithItsBucket(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	g := newGateway(t, from, nil)
	g.pull(from.PutImage(repository, "3", 1, 10, 20, 30, 40), 0)
	full := faults()[slices.IndexFunc(faults(), func(f fault) bool { return f.name == "full" })]
	m.fail(fault{}, full)
	g.fleet.Use("memory", m)
	ended := make(chan error, 1)
	go func() {
		_, err := g.fleet.Sync(context.Background(), nil)
		ended <- err
	}()
	await(t, "end of the writes", func() bool { return g.fleet.Status().WriteError != "" })
	g.fleet.Use("", nil)
	select {
	case err := <-ended:
		if err == nil {
			t.Error("it tells no error")
		}
	case <-time.After(patience):
		t.Fatal("it goes on for ever")
	}
}

// hanging is a bucket whose lists and writes hang for as long as they may.
type hanging struct{ *memory }

func (h hanging) Put(ctx context.Context, _ string, _ io.ReadSeeker, _ int64, _ bucket.PutOptions) error {
	<-ctx.Done()
	return ctx.Err()
}

func (h hanging) Delete(ctx context.Context, _ string) error {
	<-ctx.Done()
	return ctx.Err()
}

// A bucket that hangs holds up no end, and no other bucket.
func TestHangingBucketIsLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, r, f := lone(t, m)
		f.Use("hanging", hanging{m})
		for n := range 10 {
			referrers := storage.Referrers{Descriptors: []oci.Descriptor{{Digest: share(t, newMemory(), n)}}}
			if err := f.Records().PutReferrers(t.Context(), own, referrers.Descriptors[0].Digest, referrers); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		began := time.Now()
		f.Use("memory", m)
		if _, shared := get(t, r, share(t, m, 1)); shared != "bucket" {
			t.Errorf("it comes from %q", shared)
		}
		if f.Close(); time.Since(began) > 0 {
			t.Errorf("it takes %v", time.Since(began))
		}
	})
}

// provenRecords are those of a gateway that has proofs.
type provenRecords struct{ noRecords }

func (provenRecords) Linked(context.Context, oci.Scope, digest.Digest) (storage.Link, error) {
	return storage.Link{Proven: true, Size: int64(len(content))}, nil
}

// silentUpstream gives no answer about what it has.
type silentUpstream struct{ mirror.Remote }

var errSilent = oci.UpstreamError(oci.ClassTimeout, "", "it is silent", nil)

func (silentUpstream) HeadBlob(context.Context, string, digest.Digest) (int64, error) {
	return 0, errSilent
}

func (silentUpstream) Resolve(context.Context, string, oci.Reference, func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	return oci.Descriptor{}, nil, errSilent
}

// A proof that expires is not renewed by the bucket: while the upstream is silent, it is
// believed on, and the upstream is asked again soon.
func TestBucketRenewsNoProof(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		d := share(t, m, 1)
		for records, want := range map[mirror.Records]error{noRecords{}: nil, provenRecords{}: errSilent} {
			f := fleet.New(fleet.Options{Records: records})
			f.Use("memory", m)
			r := f.Remote(fleet.Upstream{Identity: upstreamName, ProofTTL: time.Hour}, silentUpstream{})
			if _, err := r.HeadBlob(t.Context(), repository, d); (err == nil) != (want == nil) {
				t.Errorf("%T: %v", records, err)
			}
			if _, _, err := r.Resolve(t.Context(), repository, oci.Reference{Digest: d}, nil); err == nil {
				t.Errorf("%T: there is a manifest", records)
			}
			f.Close()
		}
	})
}
