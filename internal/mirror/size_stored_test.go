package mirror_test

import (
	"errors"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// A file whose size is not what is known of the blob is read before it is given.
func TestStoredFileOfAnotherSize(t *testing.T) {
	t.Parallel()
	const size = 3 * mib
	for name, ask := range map[string]func(f *fixture, r oci.Request, want []byte){
		"GET": func(f *fixture, r oci.Request, want []byte) { f.mustPull(r, want, oci.ResultMiss) },
		"HEAD": func(f *fixture, r oci.Request, _ []byte) {
			if d, _, err := f.mirror.StatBlob(f.t.Context(), r); err != nil || d.Size != size {
				f.t.Errorf("HEAD: %+v, %v", d, err)
			}
			if _, _, err := f.pull(f.t.Context(), r); err != nil {
				f.t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			want := registrytest.Random(1, size)
			d := f.upstream.PutBlob(repository, want)
			p, err := f.store.Part(t.Context(), own, d, size-1) // it was cut, and recorded like that
			if err == nil {
				_, err = p.WriteAt(want[:size-1], 0)
			}
			if err == nil {
				err = errors.Join(p.Commit(size-1), p.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := f.store.Link(t.Context(), oci.Scope{Upstream: upstreamName, Repository: repository}, oci.Descriptor{Digest: d, Size: size}); err != nil {
				t.Fatal(err)
			}
			ask(f, blobRequest(d), want)
			if e := f.filled(); !e.Stored {
				t.Errorf("event %+v", e)
			}
			f.upstream.Reset()
			f.mustPull(blobRequest(d), want, oci.ResultHit)
			f.saw(0, 0)
		})
	}
}

// If it is the link that is wrong, that costs the upstream nothing.
func TestLinkOfAnotherSize(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	want := registrytest.Random(1, 3*mib)
	d := f.upstream.PutBlob(repository, want)
	f.mustPull(blobRequest(d), want, oci.ResultMiss)
	f.filled()
	f.saw(0, 1)
	for range 2 {
		if err := f.store.Link(t.Context(), oci.Scope{Upstream: upstreamName, Repository: repository}, oci.Descriptor{Digest: d, Size: 5}); err != nil {
			t.Fatal(err)
		}
		f.mustPull(blobRequest(d), want, oci.ResultHit)
		f.wantLink(repository, d, len(want))
	}
	f.saw(0, 0)
}
