package mirror_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// What a client has in full, the next process serves without the upstream, though
// this one was killed before it brought the blob to the disk.
func TestWhatAClientHasOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	for _, size := range []int{600 << 10, 4*mib + 3} {
		f := newFixture(t)
		release := f.cache.HoldCommits()
		t.Cleanup(release)
		want := registrytest.Random(1, size)
		r := blobRequest(f.upstream.PutBlob(repository, want))
		f.mustPull(r, want, oci.ResultMiss)
		killed := t.TempDir()
		if err := os.CopyFS(killed, os.DirFS(f.dir)); err != nil {
			t.Fatal(err)
		}
		s, err := storage.Open(t.Context(), storage.Options{Path: killed})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if link, err := s.Linked(t.Context(), own, r.Reference.Digest); err != nil || !link.Proven {
			t.Errorf("%d bytes: link %+v, %v", size, link, err)
		}
		if trusted, err := s.HasBlob(t.Context(), r.Reference.Digest); err != nil || !trusted {
			t.Errorf("%d bytes: blob is recorded %v, %v", size, trusted, err)
		}
		b, n, err := s.OpenBlob(t.Context(), r.Reference.Digest)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		got := make([]byte, n)
		if _, err := b.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: other bytes, %v", size, err)
		}
		b.Close()
		release()
		f.filled()
	}
}
