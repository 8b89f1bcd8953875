package index

import (
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Whoever verified a file that was just placed may have recorded it first: whose it is
// counts all the same, and only the first one that is known does.
func TestOriginIsLearnt(t *testing.T) {
	x := openTest(t, nil)
	i, err := volume.IDOf(oci.Sum([]byte("blob")))
	if err != nil {
		t.Fatal(err)
	}
	made := time.Unix(1_800_000_000, 0)
	for _, step := range []struct {
		put  Blob
		want string
	}{
		{Blob{Size: 7, Created: made}, ""},
		{Blob{Size: 7, Created: made.Add(time.Hour), Origin: "docker.io"}, "docker.io"},
		{Blob{Size: 7, Origin: "ghcr.io"}, "docker.io"},
		{Blob{Size: 7}, "docker.io"},
	} {
		if err := x.Update(10, func(b *Batch) error { return b.PutBlob(i, step.put) }); err != nil {
			t.Fatal(err)
		}
		if got, ok := x.Blob(i); !ok || got.Origin != step.want || !got.Created.Equal(made) {
			t.Errorf("after %+v: %+v, want %s", step.put, got, step.want)
		}
	}
}
