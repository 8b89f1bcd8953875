package mirror_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// plant puts a file of zeros where the store keeps a blob, as one that the index
// has lost. It is sparse: it takes long to hash, and no room.
func (f *fixture) plant(d digest.Digest, size int64) {
	f.t.Helper()
	hex := d.Encoded()
	dir := filepath.Join(f.dir, "blobs", d.Algorithm().String(), hex[:3])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.t.Fatal(err)
	}
	name := filepath.Join(dir, hex)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		f.t.Fatal(err)
	}
}

// zeros is the digest of so many of them.
func zeros(t testing.TB, size int64) digest.Digest {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyN(h, zeroReader{}, size); err != nil {
		t.Fatal(err)
	}
	return digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(h.Sum(nil)))
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A file without a record is verified before its first use. Only who wants that
// blob waits for it.
func TestVerificationKeepsNobodyElseWaiting(t *testing.T) {
	const size = 256 * mib
	for _, sound := range []bool{true, false} {
		f := newFixture(t)
		d := digest.FromString("not these bytes")
		if sound {
			d = zeros(t, size)
		}
		f.plant(d, size)
		if err := f.store.Link(oci.Scope{Upstream: upstreamName, Repository: "team/other"}, oci.Descriptor{Digest: d, Size: size}); err != nil {
			t.Fatal(err)
		}
		other := registrytest.Random(1, 2*mib)
		r := blobRequest(f.upstream.PutBlob(repository, other))
		done := make(chan error, 1)
		go func() {
			b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
			if err == nil {
				err = b.Content.Close()
			}
			done <- err
		}()
		for range 5 {
			f.mustPull(r, other, oci.ResultMiss)
			select {
			case err := <-done:
				t.Fatalf("verified before anybody else was answered: %v", err)
			default:
			}
			f.filled()
			f.evict(r.Reference.Digest)
		}
		// The upstream has it for no scope, sound or not.
		if err := <-done; !oci.IsNotFound(err) {
			t.Errorf("sound %v: %v", sound, err)
		}
		if _, err := f.store.StatBlob(d); sound != (err == nil) {
			t.Errorf("sound %v: %v", sound, err)
		}
	}
}

// evict removes the file of a blob behind the store's back.
func (f *fixture) evict(d digest.Digest) {
	f.t.Helper()
	hex := d.Encoded()
	if err := os.Remove(filepath.Join(f.dir, "blobs", "sha256", hex[:3], hex)); err != nil && !strings.Contains(err.Error(), "no such file") {
		f.t.Fatal(err)
	}
}
