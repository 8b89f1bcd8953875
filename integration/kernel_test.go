//go:build integration

package integration

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// sent matches the end of a sendfile in a trace.
var sent = regexp.MustCompile(`(?m)sendfile.* = ([0-9]+)$`)

// TestKernelSends counts the bytes of blobs that the kernel sends by itself, through
// Caddy's own writers: of what is cached, whole or in part, all but what goes with
// the header; of what is under way, all that comes after the first buffer.
func TestKernelSends(t *testing.T) {
	const size, first = 16 << 20, 256 << 10
	images := &catalog{
		server: registrytest.New(t, registrytest.Options{}), upstream: "kernel.example", seed: testenv.Seed(t),
		sizes: func(*rand.Rand) []int { return []int{size} },
	}
	s := newSubject(t, subjectOptions{site: images.caddyfile("tag_ttl 1h")})
	r := newRecorder(t, s.url())
	var blob object
	for _, o := range images.image(0) {
		if o.blob && o.size == size {
			blob = o
		}
	}
	trace := filepath.Join(t.TempDir(), "trace")
	s.wrap = []string{"strace", "-f", "-qq", "-o", trace, "-e", "trace=sendfile", "-e", "signal=none"}
	s.start(t)
	var before int64
	for _, step := range []struct {
		name    string
		clients int64
		ask     func() answer
		least   int64
	}{
		{"under way", 3, func() answer { return r.get(t.Context(), blob) }, size - first},
		{"cached", 1, func() answer { return r.get(t.Context(), blob) }, size - 512},
		{"a range", 1, func() answer { return r.getRange(t.Context(), blob, 1000, 9<<20) }, 9<<20 - 1000 - 512},
	} {
		var clients sync.WaitGroup
		for range step.clients {
			clients.Go(func() {
				if a := step.ask(); !a.right() {
					t.Errorf("%s: %s: %v", step.name, a.outcome, a.err)
				}
			})
		}
		clients.Wait()
		s.idle(t)
		raw, err := os.ReadFile(trace)
		if err != nil {
			t.Fatal(err)
		}
		var after int64
		for _, match := range sent.FindAllSubmatch(raw, -1) {
			n, err := strconv.ParseInt(string(match[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			after += n
		}
		t.Logf("result: %s: the kernel sent %d bytes of %d", step.name, after-before, step.clients*size)
		if got := after - before; got < step.clients*step.least {
			t.Errorf("%s: the kernel sent %d bytes, want at least %d", step.name, got, step.clients*step.least)
		}
		before = after
	}
	s.stop(t)
}
