//go:build integration

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// TestKillLoop ends the gateway with SIGKILL at random moments under load, again
// and again. Each time it is back at once, serves no wrong byte, has everything
// that it acknowledged, and keeps nothing of the fills that were cut short.
func TestKillLoop(t *testing.T) {
	rounds, clients := 15, 6
	if long() {
		rounds = 200
	}
	seed := testenv.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	images := &catalog{server: registrytest.New(t, registrytest.Options{CDN: true}), upstream: "kill.example", seed: seed}
	s := newSubject(t, subjectOptions{site: images.caddyfile("")})
	r := newRecorder(t, s.url())
	var starts []time.Duration
	checked := 0
	for round := range rounds {
		planted := ""
		if round%3 == 2 {
			planted = plantEmptyFiles(t, s.store)
		}
		s.launch(t)
		starts = append(starts, s.await(t, firstRightAnswer(r)))

		all, suspended := ingestFiles(t, s.store)
		if len(all) != 2*len(suspended) {
			t.Errorf("round %d: parts that nobody will resume: %q", round, all)
		}
		known := r.acknowledged()
		checkKept(t, r, images.server, append(slices.Clone(known[checked:]), sampleOf(random, known[:checked], 20)...))
		checked = len(known)

		after := 100*time.Millisecond + time.Duration(random.Int64N(int64(900*time.Millisecond)))
		underLoad(t, r, images, clients, round, random.Uint64(), func(down *atomic.Bool) {
			time.Sleep(after)
			down.Store(true)
			s.kill(t)
		})
		t.Logf("round %d: answered %v after its start, killed %v later%s", round, starts[round].Round(time.Millisecond), after, planted)
		if t.Failed() {
			break
		}
	}
	s.start(t)
	kept := r.acknowledged()
	checkKept(t, r, images.server, kept)
	status := s.idle(t)
	s.stop(t)
	files := checkStore(t, s.store)
	if len(files.ingest) != 2*len(files.suspended) || len(files.quarantined) > 0 {
		t.Errorf("left behind: parts %q, quarantine %q", files.ingest, files.quarantined)
	}
	slices.Sort(starts)
	worst := starts[len(starts)-1]
	t.Logf("result: %d kills: first right answer after %v (median), %v (worst); %s", rounds, starts[len(starts)/2], worst, r.summary())
	t.Logf("result: %d acknowledged and asked for at the end; %d blobs with %d bytes verify; parts left: %d; index begun anew: %d",
		len(kept), files.blobs, files.bytes, len(files.ingest), status.IndexRebuilds)
	if long() && worst > 2*time.Second {
		t.Errorf("worst start took %v, want 2 s at most", worst)
	}
	if len(kept) < 2*rounds {
		t.Errorf("only %d objects were acknowledged in %d rounds: the test proves little", len(kept), rounds)
	}
}

// firstRightAnswer returns a check for await: what was acknowledged last is
// answered from the cache, or the gateway answers at all if that is nothing.
func firstRightAnswer(r *recorder) func() error {
	known := r.acknowledged()
	return func() error {
		if len(known) == 0 {
			return answers(r.client, r.base+"/v2/")()
		}
		if a := r.get(context.Background(), known[len(known)-1].object); !a.right() {
			return errors.Join(a.err, errors.New(a.outcome))
		}
		return nil
	}
}

// checkKept asks for what was acknowledged while the upstream is down: all of it
// is served from the cache, and the upstream is not even asked.
func checkKept(t *testing.T, r *recorder, upstream *registrytest.Server, kept []acknowledged) {
	t.Helper()
	defer upstream.Pause()()
	upstream.Reset()
	var all sync.WaitGroup
	const clients = 4
	for n := range clients {
		all.Go(func() {
			for k := n; k < len(kept); k += clients {
				o := kept[k].object
				if a := r.get(context.Background(), o); !a.hit() {
					t.Errorf("acknowledged %v ago, and lost: %s: %s %v", time.Since(kept[k].at), o.path, a.outcome, a.err)
				}
			}
		})
	}
	all.Wait()
	if asked := upstream.Requests(); len(asked) > 0 {
		t.Errorf("the upstream was asked %d times for what is cached, first: %v", len(asked), asked[0])
	}
}

// underLoad has clients pull images, old and new ones, while do runs, which says
// when the gateway goes down. Before that, every pull succeeds.
func underLoad(t *testing.T, r *recorder, images *catalog, clients, round int, seed uint64, do func(down *atomic.Bool)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var down atomic.Bool
	for n := range clients {
		random := rand.New(rand.NewPCG(seed, uint64(n)))
		all.Go(func() {
			for ctx.Err() == nil {
				// Several clients want the same new images, and some old ones.
				image := round*8 + random.IntN(8)
				if random.IntN(4) == 0 {
					image = random.IntN(round*8 + 1)
				}
				wanted := images.image(image)
				a := r.pull(ctx, wanted)
				if last := wanted[len(wanted)-1]; a.right() && random.IntN(4) == 0 {
					a = r.getRange(ctx, last, random.Int64N(last.size), last.size)
				}
				if !a.right() {
					if !down.Load() {
						t.Errorf("round %d: %s: %v", round, a.outcome, a.err)
					}
					return
				}
			}
		})
	}
	do(&down)
	cancel()
	all.Wait()
}

// plantEmptyFiles leaves in the index what a crash can leave there: files that were
// made, but not yet written. It returns what it did.
func plantEmptyFiles(t *testing.T, store string) string {
	t.Helper()
	var planted []string
	for _, suffix := range []string{".mem", ".vlog", ".sst"} {
		last := 0
		for _, name := range names(t, filepath.Join(store, "meta")) {
			var n int
			if _, err := fmt.Sscanf(name, "%d"+suffix, &n); err == nil {
				last = max(last, n)
			}
		}
		name := fmt.Sprintf("%05d%s", last+1, suffix)
		if suffix != ".mem" {
			name = fmt.Sprintf("%06d%s", last+1, suffix)
		}
		if err := os.WriteFile(filepath.Join(store, "meta", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		planted = append(planted, name)
	}
	return ", with empty files planted before: " + strings.Join(planted, " ")
}

// sampleOf returns up to n of all.
func sampleOf(random *rand.Rand, all []acknowledged, n int) (some []acknowledged) {
	for _, k := range random.Perm(len(all)) {
		if len(some) == n {
			break
		}
		some = append(some, all[k])
	}
	return some
}
