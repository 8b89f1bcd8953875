package fleet_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// upstreamOf is an upstream that has every blob at once.
type upstreamOf struct {
	mirror.Remote

	asked int
}

var content = []byte("what the upstream has")

func (u *upstreamOf) Blob(context.Context, string, digest.Digest, int64, int64) (oci.BlobBody, error) {
	u.asked++
	return oci.BlobBody{ReadCloser: io.NopCloser(bytes.NewReader(content)), Size: int64(len(content))}, nil
}

func (u *upstreamOf) HeadBlob(context.Context, string, digest.Digest) (int64, error) {
	return int64(len(content)), nil
}

func (u *upstreamOf) Manifest(_ context.Context, _ string, ref oci.Reference) (oci.Manifest, error) {
	return oci.Manifest{Digest: ref.Digest, Bytes: content}, nil
}

func (u *upstreamOf) Resolve(context.Context, string, oci.Reference, func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	return oci.Descriptor{Size: int64(len(content))}, nil, nil
}

// noRecords are those of a gateway that knows nothing.
type noRecords struct{ mirror.Records }

func (noRecords) Linked(context.Context, oci.Scope, digest.Digest) (storage.Link, error) {
	return storage.Link{}, fs.ErrNotExist
}

func (noRecords) Referrers(context.Context, oci.Scope, digest.Digest) (storage.Referrers, error) {
	return storage.Referrers{}, nil
}

func (noRecords) PutReferrers(context.Context, oci.Scope, digest.Digest, storage.Referrers) error {
	return nil
}

// lone is a Remote over a bucket, in a bubble.
func lone(t *testing.T, m *memory) (*upstreamOf, mirror.Remote, *fleet.Fleet) {
	t.Helper()
	f := fleet.New(fleet.Options{Records: noRecords{}, Catalog: func(context.Context) (*storage.Catalog, error) {
		return nil, storage.ErrNoIndex
	}})
	f.Use("memory", m)
	t.Cleanup(f.Close)
	u := new(upstreamOf)
	return u, f.Remote(fleet.Upstream{Identity: upstreamName}, u), f
}

// get reads a blob to its end, going on at the upstream where the bucket does not, and
// returns how long it took.
func get(t *testing.T, r mirror.Remote, d digest.Digest) (took time.Duration, shared string) {
	t.Helper()
	began := time.Now()
	for got := int64(0); got < int64(len(content)); {
		body, err := r.Blob(t.Context(), repository, d, got, -1)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := io.Copy(io.Discard, body)
		shared = body.Shared
		if got += n; body.Offset == 0 && shared == "" {
			got = int64(len(content))
		}
		_ = body.Close()
	}
	return time.Since(began), shared
}

// share puts a blob into the bucket as another gateway does, and returns its digest.
func share(t *testing.T, m *memory, n int) digest.Digest {
	t.Helper()
	d := digest.NewDigestFromEncoded(digest.SHA256, fmt.Sprintf("%064x", n))
	for key, raw := range map[string][]byte{
		"v1/b/sha256/" + d.Encoded(): content,
		"v1/l/" + upstreamName + "/" + repository + "/_/sha256-" + d.Encoded(): nil,
	} {
		o := bucket.PutOptions{Meta: map[string]string{"size": fmt.Sprint(len(content))}}
		if err := m.Put(t.Context(), key, bytes.NewReader(raw), int64(len(raw)), o); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// A bucket that swallows every request costs a miss 0.6 s at most until it is not asked
// any more, and then nothing. Once it is well, it is asked again.
func TestBlackHoleCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		u, r, f := lone(t, m)
		defer f.Close()
		var known []digest.Digest
		for n := range 20 {
			known = append(known, share(t, m, n))
		}
		m.fail(faults()[1], fault{})
		for n, d := range known[:10] {
			took, shared := get(t, r, d)
			if most := 600 * time.Millisecond; took > most || n > 3 && took > 0 || shared != "" {
				t.Errorf("miss %d takes %v, of %q", n, took, shared)
			}
		}
		if s := f.Status(); s.OK() || u.asked != 10 {
			t.Errorf("%+v, and the upstream was asked %d times", s, u.asked)
		}
		time.Sleep(time.Minute) // it goes on being probed
		if took, _ := get(t, r, known[10]); took > 0 {
			t.Errorf("a miss takes %v", took)
		}
		m.fail(fault{}, fault{})
		time.Sleep(6 * time.Second)
		for _, d := range known[11:] {
			if took, shared := get(t, r, d); took > 0 || shared != "bucket" {
				t.Errorf("the bucket is well: %v, of %q", took, shared)
			}
		}
		if s := f.Status(); !s.OK() {
			t.Errorf("%+v", s)
		}
	})
}

// A body that stops is given up after 2 s, and the upstream sends the rest; for a while it
// is asked alone for that blob.
func TestSilentBodyCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		u, r, f := lone(t, m)
		defer f.Close()
		d := share(t, m, 1)
		for _, f := range faults() {
			if f.name == "silence" {
				m.fail(f, fault{})
			}
		}
		if took, _ := get(t, r, d); took != 2*time.Second || u.asked != 1 {
			t.Errorf("it takes %v, with %d questions to the upstream", took, u.asked)
		}
		m.fail(fault{}, fault{})
		if _, shared := get(t, r, d); shared != "" {
			t.Errorf("it comes from %q", shared)
		}
		time.Sleep(11 * time.Second)
		if took, shared := get(t, r, d); shared != "bucket" || took > 0 {
			t.Errorf("it comes from %q, after %v", shared, took)
		}
	})
}

// A client that leaves says nothing of the bucket.
func TestLeavingIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, r, f := lone(t, m)
		defer f.Close()
		d := share(t, m, 1)
		m.fail(faults()[1], fault{})
		for range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			_, _ = r.Blob(ctx, repository, d, 0, -1)
			cancel()
		}
		if s := f.Status(); s.Failures > 0 || !s.OK() {
			t.Errorf("%+v", s)
		}
	})
}

// A bucket that takes no writes is read on, and written again once it does.
func TestFullBucketIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		_, r, f := lone(t, m)
		defer f.Close()
		d := share(t, m, 1)
		m.fail(fault{}, faults()[len(faults())-1])
		for n := range 5 {
			referrers := storage.Referrers{Descriptors: []oci.Descriptor{{Digest: d}}}
			if err := f.Records().PutReferrers(t.Context(), own, share(t, newMemory(), n), referrers); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		if s := f.Status(); s.WriteError == "" || s.ReadError != "" || s.Waiting != 5 {
			t.Errorf("%+v", s)
		}
		if _, shared := get(t, r, d); shared != "bucket" {
			t.Errorf("it comes from %q", shared)
		}
		m.fail(fault{}, fault{})
		time.Sleep(6 * time.Second)
		if s := f.Status(); s.WriteError != "" || s.Waiting > 0 || len(m.keys("v1/r/")) != 5 {
			t.Errorf("%+v", s)
		}
	})
}
