package storage

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Whatever happens to whichever file of the index, the third start works within
// 10 s, and what the index held is there again.
func TestRandomIndexDamage(t *testing.T) {
	t.Parallel()
	rounds, n := 6, 60
	if text := os.Getenv("PULLGATE_DAMAGE_ROUNDS"); text != "" {
		if _, err := fmt.Sscan(text, &rounds); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	whole := filled(t, n)
	for round := range rounds {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		what := damageIndex(t, random, dir)
		for start := 1; ; start++ {
			err := startChild(t, dir)
			if err == nil {
				break
			}
			if start > index.MaxOpenings {
				t.Fatalf("round %d, %s: start %d: %v", round, what, start, err)
			}
		}
		s := openTest(t, Options{Path: dir})
		wantWorking(t, s)
		if manifests, tags := known(t, s, n); manifests != n || tags != n {
			t.Errorf("round %d, %s: %d manifests and %d tags of %d are there again", round, what, manifests, tags, n)
		}
		if err := s.Close(); err != nil {
			t.Errorf("round %d, %s: %v", round, what, err)
		}
	}
}

func startChild(t *testing.T, dir string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.2000s", err, out)
	}
	return nil
}

// damageIndex damages a random file of the index in a random way, and says how.
func damageIndex(t *testing.T, random *rand.Rand, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, volume.MetaDir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("files of the index are %v, %v", files, err)
	}
	name := files[random.IntN(len(files))]
	how := []string{"cut", "flipped", "zeroed", "longer", "removed"}[random.IntN(5)]
	var at int
	if how == "removed" {
		erase(t, name)
	} else {
		rewrite(t, name, func(b []byte) []byte {
			at = random.IntN(len(b) + 1)
			some := b[at:min(at+1+random.IntN(64), len(b))]
			switch how {
			case "cut":
				return b[:at]
			case "flipped":
				for k := range some {
					some[k] ^= 0xff
				}
			case "zeroed":
				clear(some)
			case "longer":
				tail, _ := content(random.Uint64(), 40)
				return append(b, tail...)
			}
			return b
		})
	}
	return fmt.Sprintf("%s %s at %d", filepath.Base(name), how, at)
}

// Where the disk had no room for a page of the index, the process still has it:
// nothing is lost, now or after the next opening.
func TestUnbackedIndex(t *testing.T) {
	t.Parallel()
	const n = 200
	var faults atomic.Uint64
	s := openTest(t, Options{seams: seams{unbacked: faults.Load}})
	fill(t, s, n/2)
	faults.Add(3)
	fill(t, s, n)
	wantWorking(t, s)
	if manifests, tags := known(t, s, n); manifests != n || tags != n {
		t.Errorf("%d manifests and %d tags of %d are known", manifests, tags, n)
	}
	if u := s.Usage(); !u.IndexOpen || !strings.Contains(u.IndexError, index.ErrUnbacked.Error()) {
		t.Errorf("usage %+v", u)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// What lies in the files is not to be relied upon.
	s = openTest(t, Options{Path: s.home.path})
	if u := s.Usage(); u.IndexRebuilds != 1 {
		t.Errorf("the index was begun anew %d times", u.IndexRebuilds)
	}
	if manifests, tags := known(t, s, n); manifests != n || tags != n {
		t.Errorf("%d manifests and %d tags of %d are there again", manifests, tags, n)
	}
	wantWorking(t, s)
}
