package mirror_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// storm runs 1,000 downloads, a few at a time; 150 unless PULLGATE_LONG is set.
// Each has a random source of its own, so that a seed replays them all.
func storm(t *testing.T, one func(i int, random *rand.Rand)) int {
	t.Helper()
	seed, n := rand.Uint64(), 150
	if long() {
		n = 1000
	}
	t.Logf("seed %d", seed)
	var running sync.WaitGroup
	places := make(chan struct{}, 8)
	for i := range n {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			one(i, rand.New(rand.NewPCG(seed, uint64(i))))
		})
	}
	running.Wait()
	return n
}

func long() bool { return os.Getenv("PULLGATE_LONG") != "" }

// size is that of a blob: mostly small, now and then larger than what is
// verified as a whole.
func size(i int, random *rand.Rand) int {
	if i%10 == 0 {
		return mib + 1 + random.IntN(mib)
	}
	return 2 + random.IntN(100_000)
}

// Downloads that are cut at any byte are resumed there: nobody notices, and the
// upstream sends next to nothing twice.
func TestDownloadsThatAreCut(t *testing.T) { inBothModes(t, testDownloadsThatAreCut) }

func testDownloadsThatAreCut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock.run()
	f.connect(upstream.Options{})
	var cuts sync.Map // from the path of a blob to where its first answer ends
	f.upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if at, ok := cuts.LoadAndDelete(r.URL.Path); ok {
			w = &cut{ResponseWriter: w, left: at.(int)}
		}
		next(w, r)
	})
	var total, good atomic.Int64
	n := storm(t, func(i int, random *rand.Rand) {
		want := registrytest.Random(random.Uint64(), size(i, random))
		d := f.upstream.PutBlob(repository, want)
		cuts.Store("/v2/"+repository+"/blobs/"+d.String(), 1+random.IntN(len(want)-1))
		raw, _, err := f.pull(t.Context(), blobRequest(d))
		if err != nil || !bytes.Equal(raw, want) {
			t.Errorf("download %d: %d bytes of %d, %v", i, len(raw), len(want), err)
			return
		}
		good.Add(1)
		total.Add(int64(len(want)))
	})
	sent := f.upstream.BlobBytes()
	t.Logf("%d of %d downloads succeed; %d bytes for %d, %.4f times as many", good.Load(), n, sent, total.Load(),
		float64(sent)/float64(total.Load()))
	if sent > total.Load()*11/10 {
		t.Error("the upstream has sent more than 1.1 times the bytes")
	}
}

// Bodies that are wrong in any way: nobody sees a clean end, nothing is stored.
func TestBodiesThatAreWrong(t *testing.T) { inBothModes(t, testBodiesThatAreWrong) }

func testBodiesThatAreWrong(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.clock.run()
	f.connect(upstream.Options{MaxFails: -1})
	wrongs := map[string]func(random *rand.Rand, b []byte) []byte{
		"flipped": func(random *rand.Rand, b []byte) []byte {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
			return b
		},
		"longer": func(random *rand.Rand, b []byte) []byte {
			return append(b, registrytest.Random(1, 1+random.IntN(1000))...)
		},
		"shorter": func(random *rand.Rand, b []byte) []byte { return b[:random.IntN(len(b))] },
		"repeated": func(random *rand.Rand, b []byte) []byte {
			at := random.IntN(len(b))
			return append(b[:at:at], b[:len(b)-at]...)
		},
	}
	names := []string{"flipped", "longer", "shorter", "repeated"}
	var refused, broken atomic.Int64
	n := storm(t, func(i int, random *rand.Rand) {
		b := registrytest.Random(random.Uint64(), size(i, random))
		d, told := digest.FromBytes(b), int64(len(b))
		name := names[random.IntN(len(names))]
		wrong := wrongs[name](random, bytes.Clone(b))
		if bytes.Equal(wrong, b) {
			wrong = append(wrong, 'x')
		}
		f.upstream.PutBlobAs(repository, d, wrong)
		if random.IntN(2) == 0 { // as a manifest would have told the right size
			if err := f.store.Link(t.Context(), oci.Scope{Upstream: upstreamName, Repository: repository}, oci.Descriptor{Digest: d, Size: told}); err != nil {
				t.Error(err)
			}
		}
		blob, _, err := f.mirror.Blob(t.Context(), blobRequest(d))
		if err != nil {
			refused.Add(1)
		} else {
			var read bytes.Buffer
			_, err = read.ReadFrom(blob.Content)
			_ = blob.Content.Close()
			if err == nil {
				t.Errorf("download %d, %s: %d wrong bytes of %d end cleanly", i, name, read.Len(), len(b))
			}
			broken.Add(1)
		}
		if _, err := f.store.StatBlob(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("download %d, %s: it is in the store: %v", i, name, err)
		}
	})
	f.cache.Close()
	var left []string
	for _, pattern := range []string{"blobs/*/*/*", "ingest/*"} {
		found, err := filepath.Glob(filepath.Join(f.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	t.Logf("%d wrong bodies: %d refused, %d cut, none ended cleanly; %d files left", n, refused.Load(), broken.Load(), len(left))
	if len(left) > 0 {
		t.Errorf("these are left: %v", fmt.Sprint(left[:min(len(left), 5)]))
	}
}
