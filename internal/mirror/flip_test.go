package mirror_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/storage"
)

// One bit flips in each of a thousand cached files (200 unless PULLGATE_LONG is set), and
// in no other: one check finds them all. The next pull of each gets the right bytes, from the upstream,
// the one after that from the cache.
func TestThousandFlippedBits(t *testing.T) { inBothModes(t, testThousandFlippedBits) }

func testThousandFlippedBits(t *testing.T) {
	t.Parallel()
	damaged, whole := testenv.Rounds(200, 1000), 50
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	f := newFixture(t)
	f.clock.run()
	blobs := make(map[digest.Digest][]byte)
	var order []digest.Digest
	for k := range damaged + whole {
		b := registrytest.Random(seed+uint64(k), 100+random.IntN(3000))
		d := f.upstream.PutBlob(repository, b)
		blobs[d] = b
		order = append(order, d)
	}
	pullAll := func(want oci.Result) {
		t.Helper()
		todo := make(chan digest.Digest)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for d := range todo {
					got, status, err := f.pull(t.Context(), blobRequest(d))
					if err != nil || !bytes.Equal(got, blobs[d]) || status.Result != want {
						t.Errorf("%s: %v, %d bytes of %d, %v", d, status, len(got), len(blobs[d]), err)
					}
				}
			})
		}
		for k, d := range order {
			todo <- d
			if want == oci.ResultMiss && k >= 100 {
				f.filled()
			}
		}
		close(todo)
		wg.Wait()
		for k := range order {
			if want == oci.ResultMiss && k < 100 {
				f.filled()
			}
		}
	}
	pullAll(oci.ResultMiss)
	for _, d := range order[:damaged] {
		if err := flip(filepath.Join(f.dir, "blobs", "sha256", d.Encoded()[:3], d.Encoded()), random.IntN(8*len(blobs[d]))); err != nil {
			t.Fatal(err)
		}
	}
	report, err := f.store.Check(t.Context(), storage.CheckOptions{Verify: true, Repair: true})
	want := storage.FindingCount{Found: int64(damaged), Repaired: int64(damaged)}
	if err != nil || report.Counts[storage.FindingDamaged] != want || len(report.Counts) != 1 || report.Blobs != int64(whole) {
		t.Fatalf("found %v, %d blobs in order, %v", report.Counts, report.Blobs, err)
	}
	order = order[:damaged]
	f.upstream.Reset()
	pullAll(oci.ResultMiss)
	if n := f.upstream.Count(http.MethodGet, "blobs"); n != damaged {
		t.Errorf("the upstream saw %d GETs, want %d", n, damaged)
	}
	f.upstream.Reset()
	pullAll(oci.ResultHit)
	if n := f.upstream.Count("", ""); n != 0 {
		t.Errorf("the upstream saw %d requests for what is cached", n)
	}
	if report, err := f.store.Check(t.Context(), storage.CheckOptions{Verify: true}); err != nil || len(report.Counts) != 0 {
		t.Errorf("found %v afterwards, %v", report.Counts, err)
	}
}

// flip changes one bit of a file, in place and with its times kept.
func flip(name string, bit int) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if bit/8 >= len(b) {
		return fmt.Errorf("%s has no bit %d", name, bit)
	}
	b[bit/8] ^= 1 << (bit % 8)
	return errors.Join(os.Chmod(name, 0o600), os.WriteFile(name, b, 0o600), os.Chmod(name, 0o444),
		os.Chtimes(name, info.ModTime(), info.ModTime()))
}
