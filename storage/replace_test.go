package storage

import (
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// A snapshot from before a removal must not bring back what was removed.
func TestRemovalIsInTheSnapshot(t *testing.T) {
	t.Parallel()
	for _, quiet := range []bool{false, true} {
		s := openTest(t, Options{})
		fill(t, s, 5)
		for range 2 { // so that there are as many as are kept
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, Options{Path: s.home.path, Quiet: quiet})
			_, d := content(7, 100)
			if err := s.Link(t.Context(), scope, oci.Descriptor{Digest: d, Size: 100}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Remove(t.Context(), RemoveOptions{Selection: oci.Selection{Upstream: scope.Upstream}}); err != nil {
			t.Fatal(err)
		}
		if quiet {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openTest(t, Options{Path: s.home.path})
		}
		names := mustSnapshots(t, s)
		if len(names) != 1 {
			t.Errorf("snapshots are %v", names)
		}
		for _, name := range names {
			_, err := s.keeper.snapshots.Read(t.Context(), name, func(r index.Record) error {
				if r.Key[0] == index.TableManifest || r.Key[0] == index.TableLink || r.Key[0] == index.TableTag {
					t.Errorf("%s has %q", name, r.Key)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		}
	}
}
