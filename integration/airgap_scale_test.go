//go:build integration

package integration

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// TestPreloadAndVerifyAtScale preloads many images of ten blobs beside a client that
// only downloads the same over as many connections, and verifies ten times as many,
// with a server and without.
func TestPreloadAndVerifyAtScale(t *testing.T) {
	images, most := 20, 64<<10
	if long() {
		images, most = 1000, 200<<10
	}
	layers := func(random *rand.Rand) (sizes []int) {
		for range 10 {
			sizes = append(sizes, 1+random.IntN(most))
		}
		return sizes
	}
	c := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "scale.example", seed: testenv.Seed(t), sizes: layers}
	s := newSubject(t, subjectOptions{site: c.caddyfile("")})
	list, bytes := c.list(t, 0, images)
	bare, kept := bareDownload(t, c, images, ""), bareDownload(t, c, images, t.TempDir())
	c.server.Reset()
	preload := s.timed(t, "preload", "--file", list)
	t.Logf("result: preload of %d images, %d MiB: %v, %v of processors, at most %d MiB of memory; a bare download takes %v, or %v with every blob brought to the disk: %.2f and %.2f times that",
		images, bytes>>20, preload.took, preload.busy, preload.memory>>20, bare, kept,
		preload.took.Seconds()/bare.Seconds(), preload.took.Seconds()/kept.Seconds())
	assertCount(t, "GET of a manifest", c.server.Count("GET", "manifests"), 2*images)
	assertCount(t, "GET of a blob", c.server.Count("GET", "blobs"), 11*images)
	again := s.timed(t, "preload", "--file", list)
	t.Logf("result: the same again: %v", again.took)

	lists := []string{"--file", list}
	for from := images; from < 10*images; from += images {
		more, _ := c.list(t, from, from+images)
		s.timed(t, "preload", "--file", more)
		lists = append(lists, "--file", more)
		c.server.Reset()
	}
	verify := func(how string) {
		var all []timing
		for range 3 {
			all = append(all, s.timed(t, append([]string{"verify"}, lists...)...))
		}
		// What else the machine does makes it slower, and nothing makes it faster.
		best := slices.MinFunc(all, func(a, b timing) int { return cmp.Compare(a.took, b.took) })
		t.Logf("result: verify of %d images, %s: %v, %v, %v; %v of processors for the command, %d MiB of memory",
			10*images, how, all[0].took, all[1].took, all[2].took, best.busy, best.memory>>20)
		// Five seconds are for a machine that does nothing else.
		if best.took > 15*time.Second {
			t.Errorf("verify %s takes %v, want 5 s", how, best.took)
		}
	}
	verify("without a server")
	s.start(t)
	verify("by the server")
	if asked := c.server.Requests(); len(asked) > 0 {
		t.Errorf("verify has asked the upstream: %v", asked[0])
	}
	s.stop(t)
}

// TestPreloadFromAfar preloads from an upstream that is 30 ms away, beside a client
// that only downloads the same over as many connections.
func TestPreloadFromAfar(t *testing.T) {
	images := 20
	if long() {
		images = 1000
	}
	sizes := func(random *rand.Rand) (sizes []int) {
		for range 10 {
			sizes = append(sizes, 1+random.IntN(200<<10))
		}
		return sizes
	}
	c := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "afar.example", seed: testenv.Seed(t), sizes: sizes}
	s := newSubject(t, subjectOptions{site: c.caddyfile("")})
	list, bytes := c.list(t, 0, images)
	c.server.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		time.Sleep(30 * time.Millisecond)
		next(w, r)
	})
	bare := bareDownload(t, c, images, "")
	c.server.Reset()
	preload := s.timed(t, "preload", "--file", list)
	t.Logf("result: preload of %d images, %d MiB, 30 ms away: %v; a bare download takes %v: %.2f times that",
		images, bytes>>20, preload.took, bare, preload.took.Seconds()/bare.Seconds())
	assertCount(t, "GET of a blob", c.server.Count("GET", "blobs"), 11*images)
}

// TestPreloadMemory preloads large blobs: the memory does not grow with them.
func TestPreloadMemory(t *testing.T) {
	images, size, limit := 3, 8<<20, int64(200<<20)
	if long() {
		images, size = 10, 20<<20
	}
	sizes := func(*rand.Rand) []int { return slices.Repeat([]int{size}, 10) }
	c := &catalog{server: registrytest.New(t, registrytest.Options{}), upstream: "scale.example", seed: testenv.Seed(t), sizes: sizes}
	list, bytes := c.list(t, 0, images)
	alone := newSubject(t, subjectOptions{site: c.caddyfile("")})
	command := alone.timed(t, "preload", "--file", list)
	s := newSubject(t, subjectOptions{site: c.caddyfile("")})
	s.start(t)
	before := s.peak(t)
	byServer := s.timed(t, "preload", "--file", list)
	after := s.peak(t)
	s.stop(t)
	t.Logf("result: preload of %d images, %d MiB in blobs of %d MiB: by the command %v, at most %d MiB of memory; by the server %v, %d MiB after %d",
		images, bytes>>20, size>>20, command.took, command.memory>>20, byServer.took, after>>20, before>>20)
	for _, peak := range []int64{command.memory, after} {
		if peak > limit {
			t.Errorf("%d MiB of memory, want %d at most", peak>>20, limit>>20)
		}
	}
}

// list puts images at the upstream, and returns a list of them and their size.
func (c *catalog) list(t *testing.T, from, to int) (file string, bytes int64) {
	t.Helper()
	var b strings.Builder
	for n := from; n < to; n++ {
		for _, o := range c.image(n) {
			bytes += o.size
		}
		fmt.Fprintf(&b, "%s/%s:%s\n", c.upstream, c.repository(n), imageTag)
	}
	return writeFile(t, b.String(), t.TempDir(), "images.txt"), bytes
}

// bareDownload downloads images, four at a time and four blobs of each, as preload
// does. It throws them away, or writes and syncs a file for each blob in a folder. It
// returns how long that takes.
func bareDownload(t *testing.T, c *catalog, images int, folder string) time.Duration {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	get := func(o object) error {
		response, err := client.Get(c.server.URL() + "/v2/" + strings.TrimPrefix(o.path, "/v2/proxy-"+c.upstream+"/"))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if folder != "" && o.blob {
			return keep(filepath.Join(folder, o.digest.Encoded()), response.Body)
		}
		n, err := io.Copy(io.Discard, response.Body)
		if err != nil || n != o.size {
			return fmt.Errorf("%s: %d bytes of %d: %w", o.path, n, o.size, err)
		}
		return nil
	}
	began := time.Now()
	var all errgroup.Group
	all.SetLimit(4)
	for n := range images {
		all.Go(func() error {
			wanted := c.image(n)
			if err := errors.Join(get(wanted[0]), get(wanted[1])); err != nil {
				return err
			}
			var blobs errgroup.Group
			blobs.SetLimit(4)
			for _, o := range wanted[2:] {
				blobs.Go(func() error { return get(o) })
			}
			return blobs.Wait()
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	return time.Since(began).Round(time.Millisecond)
}

// keep writes a file, and brings it to the disk.
func keep(name string, content io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, syscall.Fdatasync(int(f.Fd())), f.Close())
}

// timing is what a command took: time, that of processors, and the most memory.
type timing struct {
	took, busy time.Duration
	memory     int64
}

// timed runs a command on the store of a gateway, which has to succeed. What it
// prints goes to a file, as in a pipe.
func (s *subject) timed(t *testing.T, args ...string) timing {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"mirror", args[0], "--config", s.config}, args[1:]...)...)
	cmd.Stdout, cmd.Stderr = out, out
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// What the kernel counts for processes that have ended includes the test's own
	// memory, which this one began with.
	var memory int64
	ended, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			memory = max(memory, peakOf(cmd.Process.Pid))
			select {
			case <-ended:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}()
	err = cmd.Wait()
	close(ended)
	<-watched
	if err != nil {
		said, _ := os.ReadFile(out.Name())
		t.Fatalf("mirror %s: %v:\n%s", args[0], err, said[max(0, len(said)-4096):])
	}
	p := cmd.ProcessState
	return timing{
		took: time.Since(began).Round(time.Millisecond), busy: (p.UserTime() + p.SystemTime()).Round(time.Millisecond),
		memory: memory,
	}
}

// peak returns the most memory that the gateway has had.
func (s *subject) peak(t *testing.T) int64 {
	t.Helper()
	peak := peakOf(s.pid(t))
	if peak == 0 {
		t.Fatal("the kernel tells of no peak")
	}
	return peak
}

// peakOf returns the most memory that a process has had, 0 once it has ended.
func peakOf(pid int) (peak int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &peak); n == 1 {
			return peak << 10
		}
	}
	return 0
}
