package mirror_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// TestWhatIsUnknownIsNotRecorded asks for much that there is not, as anybody can: it
// leaves nothing on the disk, in this process and after it.
func TestWhatIsUnknownIsNotRecorded(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.upstream.PutImage(repository, "3", 1, 10)
	lists, others := testenv.Rounds(600, 3000), 300
	for i := range lists {
		d := oci.Sum(registrytest.Random(uint64(i), 8))
		if ds, _, err := f.mirror.Referrers(t.Context(), manifestRequest(d.String())); err != nil || len(ds) != 0 {
			t.Fatalf("%v, %v", ds, err)
		}
		if i >= others {
			continue
		}
		for _, r := range []oci.Request{manifestRequest(d.String()), manifestRequest("t" + d.Encoded()[:16])} {
			if _, _, err := f.mirror.StatManifest(t.Context(), r); !oci.IsNotFound(err) {
				t.Fatal(err)
			}
			if _, _, err := f.mirror.Manifest(t.Context(), r); !oci.IsNotFound(err) {
				t.Fatal(err)
			}
		}
		if _, _, err := f.mirror.StatBlob(t.Context(), blobRequest(d)); !oci.IsNotFound(err) {
			t.Fatal(err)
		}
		if _, _, err := f.pull(t.Context(), blobRequest(d)); !oci.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	for range 2 {
		records := 0
		for i := range lists {
			d := oci.Sum(registrytest.Random(uint64(i), 8))
			_, noReferrers := f.store.Referrers(t.Context(), own, d)
			_, noTag := f.store.Tag(t.Context(), own, "t"+d.Encoded()[:16])
			_, noManifest := f.store.Manifest(t.Context(), d)
			_, noLink := f.store.Linked(t.Context(), own, d)
			for _, err := range []error{noReferrers, noTag, noManifest, noLink} {
				if !errors.Is(err, fs.ErrNotExist) {
					records++
				}
			}
		}
		if records != 0 {
			t.Errorf("%d records of what there is not", records)
		}
		f.reopen()
	}
}
