package storage

import (
	"errors"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// stall keeps the writer busy until release is closed.
func stall(t *testing.T, s *Store) (release chan struct{}) {
	t.Helper()
	release, busy := make(chan struct{}), make(chan struct{})
	var once bool
	go func() {
		_ = s.index.update(0, func(*batch) error {
			if !once {
				once = true
				close(busy)
			}
			<-release
			return nil
		})
	}()
	<-busy
	return release
}

// An index that takes no writes keeps nobody waiting for long, and only the first
// ones at all. What they wrote is recorded when it does again.
func TestStalledIndex(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	release := stall(t, s)
	b, d := content(1, 1000)
	m := oci.Manifest{MediaType: "a/b", Digest: d, Bytes: b}
	if err := s.PutManifest(scope, m, nil); !errors.Is(err, ErrStalled) {
		t.Errorf("put manifest: %v", err)
	}
	for range 100 {
		if err := s.PutTag(scope, "later", Tag{Digest: d}); !errors.Is(err, ErrStalled) {
			t.Errorf("put tag: %v", err)
		}
	}
	if _, err := s.Tag(scope, "later"); err == nil {
		t.Error("a tag is known that was not written")
	}
	if putBlob(t, s, b) != d || string(readBlob(t, s, d)) != string(b) {
		t.Error("blob has other bytes")
	}
	close(release)
	if err := s.index.update(0, func(*batch) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.PutTag(scope, "now", Tag{Digest: d}); err != nil {
		t.Errorf("put tag: %v", err)
	}
	if _, err := s.Manifest(d); err != nil {
		t.Errorf("manifest: %v", err)
	}
}

// Close does not wait for it either. What is stalled is left behind.
func TestCloseOfStalledIndex(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), Options{Path: t.TempDir(), patience: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	db := s.db.Load()
	release := stall(t, s)
	if err := s.Close(); !errors.Is(err, ErrStalled) {
		t.Errorf("close: %v", err)
	}
	close(release)
	<-s.index.done
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}
