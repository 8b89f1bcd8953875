package fleet_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// However wrong the clocks of gateways are, and through whichever chain of them an answer
// comes: a tag is never older than its TTL, and one window costs the upstream one question.
func TestTagsAreNeverTooOld(t *testing.T) {
	t.Parallel()
	const ttl = time.Hour
	random := rand.New(rand.NewPCG(1, 0))
	from := registrytest.New(t, registrytest.Options{})
	began, passed := time.Now(), atomic.Int64{} // passed is what the test lets pass
	h := &herd{t: t, every: patience}
	for range 4 {
		skew := time.Duration(random.Int64N(int64(48*time.Hour))) - 24*time.Hour
		h.add(newSkewed(t, from, func() time.Time { return time.Now().Add(skew + time.Duration(passed.Load())) }, func(u *mirror.Upstream) { u.TagTTL = ttl }))
	}
	h.start()
	now := func() time.Duration { return time.Since(began) + time.Duration(passed.Load()) }
	const tags = 3
	current := make([]digest.Digest, tags)
	replaced := map[digest.Digest]time.Duration{} // when it ceased to be current
	for step := range 400 {
		n := random.IntN(tags)
		tag := fmt.Sprint("t", n)
		switch random.IntN(6) {
		case 0:
			passed.Add(random.Int64N(int64(ttl)))
		case 1:
			if current[n] != "" {
				replaced[current[n]] = now()
			}
			current[n] = from.PutImage(repository, tag, uint64(step), 10).Index.Digest
		default:
			if current[n] == "" {
				continue
			}
			asked := now()
			mf, status, err := h.gateways[random.IntN(len(h.gateways))].manifest(repository, tag)
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			if at, old := replaced[mf.Digest]; old && asked-at > ttl {
				t.Fatalf("step %d: %s has meant something else for %v, and the answer is %v", step, tag, asked-at, status)
			}
		}
	}
	// All gateways are asked within one window.
	passed.Add(int64(2 * ttl))
	from.Reset()
	for range 3 {
		for _, g := range h.gateways {
			if _, _, err := g.manifest(repository, "t0"); err != nil {
				t.Fatal(err)
			}
		}
		passed.Add(int64(ttl / 4))
	}
	if n := from.Count("HEAD", "manifests"); n != 1 {
		t.Errorf("%d questions in one window", n)
	}
}

// While the upstream cannot be asked, a gateway that does not know a tag serves what the
// owner knew of it, as something stale.
func TestOldTagsOfPeersServe(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10)
	passed := atomic.Int64{}
	h := &herd{t: t, every: patience}
	for range 2 {
		h.add(newSkewed(t, from, func() time.Time { return time.Now().Add(time.Duration(passed.Load())) }))
	}
	h.start()
	owner, others := h.owner(upstreamName + "/" + repository + ":3")
	if err := owner.fetch(image); err != nil {
		t.Fatal(err)
	}
	passed.Add(int64(time.Hour))
	from.Refuse()
	mf, status, err := others[0].manifest(repository, "3")
	if err != nil || mf.Digest != image.Index.Digest || status.Result != "stale" {
		t.Errorf("%v, %v", status, err)
	}
}
