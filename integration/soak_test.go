//go:build integration

package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// soakSize is the limit of the store: small, so that it evicts all the time.
const soakSize = 64 << 20

// soakImages are ten times what the store can hold. All of them are pulled while it
// warms up: of each one the index keeps manifest and tag, and files for them.
const soakImages = 500

// most is by how many percent memory may grow. Garbage makes more of that under
// load, unless it is measured over minutes.
const most = 5

// TestSoak serves a mixed load for the time that SOAK says (30 s by default, 10
// minutes in the long version), while one of the two upstreams fails in every way,
// the store evicts and the configuration is reloaded. What the process uses is then
// what it used after a fifth of that time, nothing was answered wrong, and the
// store verifies.
func TestSoak(t *testing.T) {
	lasts := 30 * time.Second
	if long() {
		lasts = 10 * time.Minute
	}
	if text := os.Getenv("SOAK"); text != "" {
		var err error
		if lasts, err = time.ParseDuration(text); err != nil || lasts < 10*time.Second {
			t.Fatalf("SOAK=%s: want a duration such as 10m, at least 10s", text)
		}
	}
	k := newSoak(t, testenv.Seed(t))
	k.start(t)
	k.fillIndex(t)
	warm := min(lasts/5, 2*time.Minute)
	k.serve(t, warm)
	base := k.rest(t, steadily())
	t.Logf("warm after %v: %v", warm, base)

	k.samples = nil
	k.serve(t, lasts-warm)
	after := k.rest(t, func(r resources) bool {
		return r.goroutines <= base.goroutines+10 && r.files <= base.files+10
	})
	k.report(t, base, after)
	if abs(after.goroutines-base.goroutines) > 10 || abs(after.files-base.files) > 10 {
		t.Errorf("at rest: %v in the end, %v after the warm-up: want 10 goroutines and 10 descriptors more or less at most", after, base)
	}
	if grown := change(float64(base.live), float64(after.live)); grown > most {
		t.Errorf("the heap at rest has grown by %.1f %%, want %v %% at most", grown, most)
	}
	early, late := k.memory(anonymous)
	if grown := change(early, late); grown > most && lasts >= 10*time.Minute {
		t.Errorf("anonymous memory under load has grown by %.1f %%, want %v %% at most", grown, most)
	}
	k.verify(t)
}

// soak is a gateway with two upstreams and their clients.
type soak struct {
	*subject
	*clientele
	steadyServer, faultyServer *registrytest.Server
	weather                    *weather
	began                      time.Time
	samples                    []resources // one a second, under load
	reloads                    int
}

func newSoak(t *testing.T, seed uint64) *soak {
	t.Helper()
	k := &soak{
		steadyServer: registrytest.New(t, registrytest.Options{CDN: true}),
		faultyServer: registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true}),
		weather:      &weather{random: rand.New(rand.NewPCG(seed, 1)), lasts: 12 * time.Second},
	}
	k.faultyServer.Hook(k.weather.hook)
	k.clientele = &clientele{
		images: &catalog{server: k.steadyServer, upstream: "steady.example", seed: seed},
		rough:  &catalog{server: k.faultyServer, upstream: "faulty.example", seed: seed + 1},
		seed:   seed, hot: 10, round: soakImages,
	}
	k.subject = newSubject(t, subjectOptions{
		site:    k.images.caddyfile("tag_ttl 2s") + "\n\t\t" + k.rough.caddyfile("tag_ttl 2s"),
		storage: fmt.Sprintf("max_size %dB", soakSize),
	})
	k.steady, k.faulty = newRecorder(t, k.url()), newRecorder(t, k.url())
	k.steady.reloads.Store(true)
	k.faulty.reloads.Store(true)
	return k
}

func (k *soak) start(t *testing.T) {
	t.Helper()
	k.subject.start(t)
	k.began = time.Now()
}

// fillIndex pulls manifests until the index has more than filled its memory twice,
// which it does at its leisure otherwise: that is no leak.
func (k *soak) fillIndex(t *testing.T) {
	t.Helper()
	const size, all = 350 << 10, 48 << 20
	for n := range all / size {
		raw := mustMarshal(map[string]any{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []ocispec.Descriptor{},
			"annotations": map[string]string{"n": strconv.Itoa(n), "padding": strings.Repeat("x", size)},
		})
		repository := "catalog/index"
		d := k.steadyServer.PutManifest(repository, "", ocispec.MediaTypeImageIndex, raw)
		if a := k.steady.get(t.Context(), k.images.object(repository, "manifests", d.String(), raw)); !a.right() {
			t.Fatalf("pull of a large manifest: %s: %v", a.outcome, a.err)
		}
	}
}

// serve has the clients at work for a time, changes the weather and reloads the
// configuration every five seconds, and takes samples every second.
func (k *soak) serve(t *testing.T, lasts time.Duration) {
	t.Helper()
	k.begin(t.Context())
	defer k.end()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	until := time.Now().Add(lasts)
	for n := 1; time.Now().Before(until) && !t.Failed(); n++ {
		<-tick.C
		r, err := k.resources(t)
		if err != nil {
			t.Errorf("sample: %v", err)
			return
		}
		k.samples = append(k.samples, r)
		if n%5 == 0 {
			k.weather.calm.Store(n%10 == 0)
			k.faultyServer.ExpireTokens()
			k.reload(t)
		}
		if n%10 == 0 {
			k.progress(t, r)
		}
	}
}

// reload loads a configuration that differs from the one before.
func (k *soak) reload(t *testing.T) {
	t.Helper()
	k.reloads++
	other := *k.subject
	other.site += fmt.Sprintf("\n\t\tupstream v%d.example {\n\t\t\toffline\n\t\t}", k.reloads)
	other.storage = fmt.Sprintf("max_size %dB", soakSize-k.reloads%2<<20)
	if out, err := reload(k.admin, other.caddyfile()); err != nil {
		t.Errorf("reload %d: %v: %s", k.reloads, err, out)
	}
}

func (k *soak) progress(t *testing.T, r resources) {
	t.Helper()
	status, err := k.status()
	if err != nil {
		t.Errorf("status: %v", err)
		return
	}
	t.Logf("%4.0f s: %d images, %d blobs of %.1f MiB cached, %d evicted, %d fills; %v", time.Since(k.began).Seconds(),
		k.newest.Load(), status.Blobs, float64(status.BlobBytes)/(1<<20), status.EvictedBlobs, status.Fills, r)
	// The upstreams keep a list of all requests.
	k.steadyServer.Reset()
	k.faultyServer.Reset()
}

// rest returns what the gateway uses when nobody wants anything: when good says
// so, or after some time.
func (k *soak) rest(t *testing.T, good func(resources) bool) resources {
	t.Helper()
	k.weather.calm.Store(true)
	k.faultyServer.Pause()() // nothing may hang any longer
	k.idle(t)
	// Connections to the upstreams may stay for the next pull; they are no leak.
	k.steadyServer.Pause()()
	k.faultyServer.Pause()()
	r := k.settled(t, good)
	r.live = k.liveHeap(t)
	return r
}

// steadily returns what is good once goroutines and descriptors have stayed the
// same for a second.
func steadily() func(resources) bool {
	var last resources
	since := time.Now()
	return func(r resources) bool {
		if r.goroutines != last.goroutines || r.files != last.files {
			last, since = r, time.Now()
		}
		return time.Since(since) >= time.Second
	}
}

// memory returns the medians of what was used under load, in the first and in the
// last quarter of the time.
func (k *soak) memory(of func(resources) int64) (early, late float64) {
	quarter := min(len(k.samples)/4+1, len(k.samples))
	return float64(median(k.samples[:quarter], of)), float64(median(k.samples[len(k.samples)-quarter:], of))
}

// change returns by how many percent b is more than a.
func change(a, b float64) float64 { return 100 * (b - a) / max(a, 1) }

// anonymous is the memory that may not grow. The rest of what is resident is the
// page cache of the program and of the index, which the kernel takes back.
func anonymous(r resources) int64 { return r.anonymous }

func resident(r resources) int64 { return r.resident }

func (k *soak) report(t *testing.T, base, after resources) {
	t.Helper()
	t.Logf("result: steady upstream: %s", k.steady.summary())
	t.Logf("result: faulty upstream: %s", k.faulty.summary())
	t.Logf("its faults: %v; %d reloads", k.weather.seen, k.reloads)
	t.Logf("result: %-22s %12s %12s %8s", "", "warm", "end", "change")
	row := func(name string, a, b float64) {
		t.Logf("result: %-22s %12.1f %12.1f %7.1f%%", name, a, b, change(a, b))
	}
	const mib = 1 << 20
	early, late := k.memory(anonymous)
	row("anonymous, load, MiB", early/mib, late/mib)
	early, late = k.memory(resident)
	row("resident, load, MiB", early/mib, late/mib)
	row("resident, rest, MiB", float64(base.resident)/mib, float64(after.resident)/mib)
	row("heap in use, rest, MiB", float64(base.live)/mib, float64(after.live)/mib)
	row("goroutines, rest", float64(base.goroutines), float64(after.goroutines))
	row("descriptors, rest", float64(base.files), float64(after.files))
}

// verify reads everything that is cached through the gateway, without upstreams,
// and then from the disk.
func (k *soak) verify(t *testing.T) {
	t.Helper()
	known := make(map[string]object)
	for _, c := range []*catalog{k.images, k.rough} {
		for _, image := range c.images {
			for _, o := range image {
				if o.blob {
					known[o.digest.Encoded()] = o
				}
			}
		}
	}
	cached, err := filepath.Glob(filepath.Join(k.store, "blobs", "sha256", "*", "*"))
	if err != nil || len(cached) < 20 {
		t.Errorf("only %d blobs are cached: %v", len(cached), err)
	}
	defer k.steadyServer.Pause()()
	defer k.faultyServer.Pause()()
	for _, name := range cached {
		o, ok := known[filepath.Base(name)]
		if !ok {
			t.Errorf("%s is cached, and was at no upstream", name)
			continue
		}
		if a := k.steady.get(t.Context(), o); !a.hit() {
			t.Errorf("%s is cached, and not served: %s: %v", o.path, a.outcome, a.err)
		}
	}
	status := k.idle(t)
	k.stop(t)
	files := checkStore(t, k.store)
	if files.blobs != status.Blobs || files.bytes != status.BlobBytes {
		t.Errorf("the store has %d blobs with %d bytes, and counts %d with %d", files.blobs, files.bytes, status.Blobs, status.BlobBytes)
	}
	if files.bytes > soakSize {
		t.Errorf("the store has %d bytes of blobs, %d are allowed", files.bytes, soakSize)
	}
	if len(files.ingest) != 2*len(files.suspended) || len(files.quarantined) > 0 {
		t.Errorf("left behind: parts %q, quarantine %q", files.ingest, files.quarantined)
	}
	t.Logf("result: %d blobs with %d bytes verify, suspended parts: %d, index begun anew: %d",
		files.blobs, files.bytes, len(files.suspended), status.IndexRebuilds)
}

func abs(n int) int { return max(n, -n) }
