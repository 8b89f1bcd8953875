package mirror_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
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
	// Nobody may find it empty.
	name := filepath.Join(f.t.TempDir(), hex)
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, size), os.Rename(name, filepath.Join(dir, hex))); err != nil {
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
	t.Parallel()
	const size, sum = 256 * mib, digest.Digest("sha256:a6d72ac7690f53be6ae46ba88506bd97302a093f7108472bd9efc3cefda06484") // of zeros
	for _, sound := range []bool{true, false} {
		f := newFixture(t)
		d := digest.FromString("not these bytes")
		if sound {
			d = sum
		}
		f.plant(d, size)
		if err := f.store.Link(t.Context(), oci.Scope{Upstream: upstreamName, Repository: "team/other"}, oci.Descriptor{Digest: d, Size: size}); err != nil {
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
		if _, err := f.store.StatBlob(t.Context(), d); sound != (err == nil) {
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

// A large file in doubt is served as a fill is: a damaged one is cut off before its end,
// and the next request gets the blob from the upstream.
func TestDoubtIsServedAsAFill(t *testing.T) { inBothModes(t, testDoubtIsServedAsAFill) }

func testDoubtIsServedAsAFill(t *testing.T) {
	t.Parallel()
	const size = 3 * mib
	f := newFixture(t)
	sound := zeros(t, size)
	want := registrytest.Random(1, size)
	damaged := f.upstream.PutBlob(repository, want)
	for _, d := range []digest.Digest{sound, damaged} {
		if err := f.store.Link(t.Context(), own, oci.Descriptor{Digest: d, Size: size}); err != nil {
			t.Fatal(err)
		}
		f.plant(d, size)
	}
	b, status, err := f.mirror.Blob(t.Context(), blobRequest(sound))
	if err != nil || status.Result != oci.ResultHit || b.File != nil {
		t.Fatalf("sound: %v, %v, file %v", status, err, b.File)
	}
	got, err := io.ReadAll(b.Content)
	if err != nil || len(got) != size || digest.FromBytes(got) != sound {
		t.Errorf("sound: %d bytes, %v", len(got), err)
	}
	b.Content.Close()
	f.saw(0, 0)
	got, _, err = f.pull(t.Context(), blobRequest(damaged))
	if err == nil || len(got) >= size {
		t.Errorf("damaged: %d bytes, %v", len(got), err)
	}
	f.mustPull(blobRequest(damaged), want, oci.ResultMiss)
}

// No range of a damaged file ends cleanly, wherever it begins.
func TestRangeOfDoubt(t *testing.T) {
	t.Parallel()
	const size = 3 * mib
	for _, ends := range [][2]int64{{0, 10}, {0, size - 64<<10}, {5, 10}, {size - 10, size}} {
		f := newFixture(t)
		sound, damaged := zeros(t, size), oci.Sum([]byte("x"))
		for _, d := range []digest.Digest{sound, damaged} {
			if err := f.store.Link(t.Context(), own, oci.Descriptor{Digest: d, Size: size}); err != nil {
				t.Fatal(err)
			}
			f.plant(d, size)
			b, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
			if err != nil || b.File != nil {
				t.Fatalf("%v, file %v", err, b.File)
			}
			if err := b.Content.(oci.Filling).Select(ends[0], ends[1]); err != nil {
				t.Fatal(err)
			}
			n, err := io.CopyN(io.Discard, b.Content, ends[1]-ends[0])
			if d == sound && err != nil || d == damaged && (err == nil || n > 0) {
				t.Errorf("%v of %s: %d bytes, %v", ends, d, n, err)
			}
			b.Content.Close()
		}
	}
}
