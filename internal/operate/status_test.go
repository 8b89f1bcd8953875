package operate

import (
	"maps"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// A command tells who brought the blobs in, also where the store that it has just
// opened has not counted them.
func TestStatusOfACommand(t *testing.T) {
	path := t.TempDir()
	s, err := storage.Open(t.Context(), storage.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	for upstream, content := range map[string]string{"docker.io": "12345", "ghcr.io": "1234567", "ghcr.io#0123456789ab": "89"} {
		scope := oci.Scope{Upstream: upstream, Repository: "a/b"}
		part, err := s.Part(t.Context(), scope, oci.Sum([]byte(content)), int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = part.WriteAt([]byte(content), 0); err == nil {
			err = part.Commit(int64(len(content)))
		}
		if err != nil {
			t.Fatal(err)
		}
		part.Close()
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if s, err = storage.Open(t.Context(), storage.Options{Path: path, Existing: true, Inspect: true}); err != nil {
			t.Fatal(err)
		}
		status, err := Command(&Store{Store: s, Path: path}, nil).Status(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		got := status.Storage[0]
		want := map[string]int64{"docker.io": 5, "ghcr.io": 9}
		if got.Blobs != 3 || got.BlobBytes != 14 || !got.Counted || !maps.Equal(got.Usage.Upstreams, want) {
			t.Errorf("%d blobs of %d bytes, counted: %v, by upstream %v; want %v", got.Blobs, got.BlobBytes, got.Counted, got.Usage.Upstreams, want)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
