//go:build integration

package integration

import (
	"context"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// safeAfter is how long after its acknowledgement an object is safe from a power
// failure: the index is synced every second, and ext4 writes down every five what
// files there are.
const safeAfter = 8 * time.Second

// TestPowerLoss takes the power away at random moments under load: the store's
// file system is copied as a disk would hold it then, and a gateway is started on
// the copy, in what it takes for another run of the kernel. No blob is wrong, only
// what is new is lost, and what is lost is pulled again.
func TestPowerLoss(t *testing.T) {
	seed := testenv.Seed(t)
	if !long() {
		losePower(t, seed, 2)
		return
	}
	for n := range uint64(5) {
		t.Run(strconv.FormatUint(n, 10), func(t *testing.T) { losePower(t, seed+n, 10) })
	}
}

// losePower takes the power away so many times, from a store that is empty at first.
func losePower(t *testing.T, seed uint64, rounds int) {
	t.Helper()
	const clients = 4
	random := rand.New(rand.NewPCG(seed, 2))
	images := &catalog{server: registrytest.New(t, registrytest.Options{CDN: true}), upstream: "power.example", seed: seed}
	disk := newVolume(t, 16<<30)
	s := newSubject(t, subjectOptions{site: images.caddyfile(""), store: filepath.Join(disk.dir, "store")})
	s.start(t)
	r := newRecorder(t, s.url())

	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	var newest atomic.Int64
	for n := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(100+n)))
		all.Go(func() {
			for ctx.Err() == nil {
				a := r.pull(ctx, images.image(int(newest.Load())+random.IntN(4)))
				if !a.right() && ctx.Err() == nil {
					t.Errorf("before any power loss: %s: %v", a.outcome, a.err)
				}
				// Some MB/s: each copy takes its time.
				select {
				case <-time.After(time.Duration(100+random.IntN(200)) * time.Millisecond):
				case <-ctx.Done():
				}
				if random.IntN(4) == 0 {
					newest.Add(1)
				}
			}
		})
	}
	for round := range rounds {
		time.Sleep(2*time.Second + time.Duration(random.Int64N(int64(3*time.Second))))
		s.signal(t, syscall.SIGSTOP)
		at, known := time.Now(), r.acknowledged()
		image := disk.copyImage(t)
		s.signal(t, syscall.SIGCONT)
		checkPowerLoss(t, images, image, at, known, random, round)
		if err := os.Remove(image); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	cancel()
	all.Wait()
	t.Logf("%s", r.summary())
}

// checkPowerLoss starts a gateway on what a disk held when the power went, at a
// time when so much was acknowledged.
func checkPowerLoss(t *testing.T, images *catalog, image string, at time.Time, known []acknowledged, random *rand.Rand, round int) {
	t.Helper()
	disk := mountVolume(t, image)
	defer disk.unmount()
	boot := writeFile(t, "00000000-0000-4000-8000-000000000000\n", t.TempDir(), "boot_id")
	s := newSubject(t, subjectOptions{
		site: images.caddyfile("offline"), store: filepath.Join(disk.dir, "store"),
		wrap: []string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, boot},
	})
	s.launch(t)
	r := newRecorder(t, s.url())
	took := s.await(t, answers(r.client, s.url()+"/v2/"))
	if !strings.Contains(s.log(), "machine went down while the store was open") {
		t.Error("the gateway does not know of the power loss: the test proves little")
	}

	// What is asked for is what may be lost, and some of what may not.
	old := 0
	for old < len(known) && at.Sub(known[old].at) > 2*safeAfter {
		old++
	}
	asked := append(sampleOf(random, known[:old], 100), known[old:]...)
	var lost []acknowledged
	var oldest time.Duration
	for _, k := range asked {
		a := r.get(t.Context(), k.object)
		if a.hit() {
			continue
		}
		age := at.Sub(k.at)
		lost, oldest = append(lost, k), max(oldest, age)
		if a.status != http.StatusNotFound || age > safeAfter {
			t.Errorf("acknowledged %v before the power loss, and now: %s: %s: %v", age, k.path, a.outcome, a.err)
		}
	}
	status := s.idle(t)
	s.stop(t)

	// Once it may ask the upstream, all is well.
	s.site = images.caddyfile("")
	writeFile(t, s.caddyfile(), s.config)
	s.start(t)
	for _, k := range lost {
		if a := r.get(t.Context(), k.object); !a.right() {
			t.Errorf("lost, and not pulled again: %s: %s: %v", k.path, a.outcome, a.err)
		}
	}
	s.stop(t)
	files := checkStore(t, s.store)
	if len(files.ingest) != 2*len(files.suspended) || len(files.quarantined) > 0 {
		t.Errorf("left behind: parts %q, quarantine %q", files.ingest, files.quarantined)
	}
	t.Logf("result: power loss %d: up after %v; of %d asked, %d are lost, the oldest %v old; index begun anew: %d; quarantined: %d; %d blobs verify",
		round, took.Round(time.Millisecond), len(asked), len(lost), oldest.Round(time.Millisecond),
		status.IndexRebuilds, len(files.quarantined), files.blobs)
}
