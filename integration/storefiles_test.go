//go:build integration

package integration

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// storeFiles is what lies in the directory of a store.
type storeFiles struct {
	blobs, bytes int64
	// ingest has the names of what lies there, suspended those among them that
	// have a sidecar.
	ingest, suspended []string
	quarantined       []string
}

// checkStore reads all blobs of a store that nobody writes to and fails the test if
// one is not what its name says.
func checkStore(t *testing.T, dir string) (found storeFiles) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "blobs"), func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		found.blobs++
		n, sum, err := sha256File(name)
		found.bytes += n
		if err == nil && sum != entry.Name() {
			t.Errorf("%s holds %d bytes with the sum %s", name, n, sum)
		}
		return err
	})
	if err != nil {
		t.Errorf("read the blobs: %v", err)
	}
	found.ingest, found.suspended = ingestFiles(t, dir)
	found.quarantined = names(t, filepath.Join(dir, "quarantine"))
	return found
}

// ingestFiles returns the names in ingest/, and of the parts with a sidecar.
func ingestFiles(t *testing.T, dir string) (all, suspended []string) {
	t.Helper()
	all = names(t, filepath.Join(dir, "ingest"))
	for _, name := range all {
		if part, ok := strings.CutSuffix(name, ".json"); ok {
			suspended = append(suspended, part)
		}
	}
	return all, suspended
}

func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Errorf("read directory: %v", err)
	}
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

func sha256File(name string) (int64, string, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return n, "", fmt.Errorf("read %s: %w", name, err)
	}
	return n, hex.EncodeToString(h.Sum(nil)), nil
}
