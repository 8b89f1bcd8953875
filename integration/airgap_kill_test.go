//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// killing has what the tests of killed commands share: images, a list of them, and
// two bundles of them as they should be.
type killing struct {
	images *catalog
	random *rand.Rand
	list   string
	count  int
	rounds int
	bundle map[string][]byte // by the end of the name
	took   map[string]time.Duration
}

// TestKilledCarriage ends preload, export and import with SIGKILL at random moments:
// the command, where it works by itself, or the server that works for it. Nothing
// half-made shows, and the same command again does the rest.
func TestKilledCarriage(t *testing.T) {
	seed := testenv.Seed(t)
	k := &killing{
		images: &catalog{server: registrytest.New(t, registrytest.Options{CDN: true}), upstream: "kill.example", seed: seed},
		random: rand.New(rand.NewPCG(seed, 2)), count: 12, rounds: 3,
		bundle: make(map[string][]byte), took: make(map[string]time.Duration),
	}
	if long() {
		k.rounds = 60
	}
	var list strings.Builder
	for n := range k.count {
		k.images.image(n)
		fmt.Fprintf(&list, "%s/%s:%s\n", k.images.upstream, k.images.repository(n), imageTag)
	}
	k.list = writeFile(t, list.String(), t.TempDir(), "images.txt")
	whole := newSubject(t, subjectOptions{site: k.images.caddyfile("")})
	k.clock(t, whole, "preload", "--file", k.list)
	for _, end := range []string{".tar", ".tar.zst"} {
		name := filepath.Join(t.TempDir(), "whole"+end)
		k.clock(t, whole, "export", "--output", name)
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		k.bundle[end] = raw
	}
	bundle := writeFile(t, string(k.bundle[".tar"]), t.TempDir(), "bundle.tar")
	empty := newSubject(t, subjectOptions{site: k.images.caddyfile("")})
	k.clock(t, empty, "import", bundle)
	t.Logf("result: without kills: preload %v, export %v, import %v", k.took["preload"], k.took["export"], k.took["import"])

	t.Run("preload", k.preload)
	t.Run("export", func(t *testing.T) { k.export(t, whole) })
	t.Run("import", func(t *testing.T) { k.imports(t, bundle) })
}

// clock runs a command that works by itself to its end. The first of its name has
// everything to do: how long that takes is noted.
func (k *killing) clock(t *testing.T, s *subject, args ...string) {
	t.Helper()
	began := time.Now()
	if code, out := s.command(t, nil, args...); code != 0 {
		t.Fatalf("mirror %v: exit code %d:\n%s", args, code, out)
	}
	if k.took[args[0]] == 0 {
		k.took[args[0]] = time.Since(began).Round(time.Millisecond)
	}
}

// preload kills preloads: what was stored then is right, and not pulled again.
func (k *killing) preload(t *testing.T) {
	var early, midway, resumed int
	for round := range k.rounds {
		s := newSubject(t, subjectOptions{site: k.images.caddyfile("")})
		what := k.kill(t, s, round, "preload", "--file", k.list)
		checkVerify(t, s, what, k.list, func(reason string) bool { return true })
		kept := make(map[string]bool)
		for _, name := range blobNames(t, s.store) {
			kept[name] = true
		}
		_, suspended := ingestFiles(t, s.store)
		k.images.server.Reset()
		k.clock(t, s, "preload", "--file", k.list)
		for _, r := range k.images.server.Requests() {
			if at := strings.Index(r.Path, "sha256:"); at >= 0 && r.Kind == "blobs" && kept[r.Path[at+len("sha256:"):]] {
				t.Errorf("%s: pulled again: %v", what, r)
			}
		}
		checkWhole(t, s, what, k.list, k.count)
		switch blobs := len(kept); {
		case blobs == 0:
			early++
		case blobs < 4*k.count: // a config and three layers
			midway++
		}
		resumed += len(suspended)
		if t.Failed() {
			return
		}
	}
	t.Logf("result: %d preloads killed, %d before their first blob and %d midway, %d blobs resumed", k.rounds, early, midway, resumed)
}

// export kills exports: there is no bundle, or all of it.
func (k *killing) export(t *testing.T, whole *subject) {
	ends := []string{".tar", ".tar.zst", "/"}
	var begun, done int
	for round := range k.rounds {
		end := ends[k.random.IntN(len(ends))]
		dir := t.TempDir()
		name := filepath.Join(dir, "bundle"+end)
		if end == "/" {
			name = filepath.Join(dir, "bundle") + end
		}
		what := k.kill(t, whole, round, "export", "--output", name)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			switch {
			case strings.HasSuffix(e.Name(), ".partial"):
				begun++
			case "bundle"+strings.TrimSuffix(end, "/") == e.Name():
				done++
				k.checkBundle(t, what, name, end)
				if err := os.RemoveAll(name); err != nil {
					t.Fatal(err)
				}
			default:
				t.Errorf("%s: left %s", what, e.Name())
			}
		}
		k.clock(t, whole, "export", "--output", name)
		k.checkBundle(t, what+", again", name, end)
		if all := names(t, dir); len(all) != 1 {
			t.Errorf("%s, again: there are %q", what, all)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("result: %d exports killed, %d while they wrote, %d bundles were done", k.rounds, begun, done)
}

// checkBundle checks that a bundle has what it should have.
func (k *killing) checkBundle(t *testing.T, what, name, end string) {
	t.Helper()
	if end == "/" {
		s := newSubject(t, subjectOptions{site: k.images.caddyfile("")})
		k.clock(t, s, "import", name)
		checkWhole(t, s, what, k.list, k.count)
		return
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(raw, k.bundle[end]) {
		t.Errorf("%s: %s has %d bytes that are not the %d of one that was not killed", what, name, len(raw), len(k.bundle[end]))
	}
}

// imports kills imports: of each image, there is all or nothing.
func (k *killing) imports(t *testing.T, bundle string) {
	var early, midway int
	for round := range k.rounds {
		s := newSubject(t, subjectOptions{site: k.images.caddyfile("")})
		what := k.kill(t, s, round, "import", bundle)
		shown := checkVerify(t, s, what, k.list, func(kind string) bool { return kind == "manifest" })
		switch blobs := len(blobNames(t, s.store)); {
		case blobs == 0:
			early++
		case shown < k.count:
			midway++
		}
		k.clock(t, s, "import", bundle)
		checkWhole(t, s, what, k.list, k.count)
		if t.Failed() {
			return
		}
	}
	t.Logf("result: %d imports killed, %d before their first blob and %d midway", k.rounds, early, midway)
}

// kill begins a command, and kills it before it would end by itself: in every other
// round the server that works for it. It returns what it did.
func (k *killing) kill(t *testing.T, s *subject, round int, args ...string) (what string) {
	t.Helper()
	took := k.took[args[0]]
	after := took/8 + time.Duration(k.random.Int64N(int64(took)*7/8)) // it starts before
	kill := func(command *os.Process) { _ = command.Kill() }
	who := "the command"
	if round%2 == 1 {
		who = "the server"
		s.start(t)
		kill = func(*os.Process) { s.kill(t) }
	}
	what = fmt.Sprintf("round %d, mirror %s, %s killed after %v", round, args[0], who, after)
	t.Log(what)
	code, out := s.command(t, func(command *os.Process) { time.Sleep(after); kill(command) }, args...)
	if code != 0 && code != 2 && code != -1 || code == -1 && round%2 == 1 {
		t.Errorf("%s: exit code %d:\n%s", what, code, out)
	}
	return what
}

// command runs a command on the store of a gateway, with the gateway if that runs. It
// returns its exit code, -1 = it was killed, and what it printed.
func (s *subject) command(t *testing.T, meanwhile func(*os.Process), args ...string) (code int, output string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"mirror", args[0], "--config", s.config}, args[1:]...)...)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if meanwhile != nil {
		meanwhile(cmd.Process)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), b.String()
}

// checkVerify checks what there is after a kill: each blob is what its name says, and
// of images that are not complete, only such things are missing. It returns how many
// images are complete.
func checkVerify(t *testing.T, s *subject, what, list string, mayMiss func(kind string) bool) (complete int) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(s.store, "VERSION")); errors.Is(err, fs.ErrNotExist) {
		return 0 // killed before there was a store
	}
	checkStore(t, s.store)
	for _, i := range s.verify(t, what, "--file", list) {
		if i.Complete {
			complete++
		}
		for _, p := range i.Parts {
			for _, m := range p.Missing {
				if !mayMiss(m.Kind) {
					t.Errorf("%s: %s shows without its %s %s: %s", what, i.Image, m.Kind, m.Digest, m.Reason)
				}
			}
		}
	}
	return complete
}

// verified is what verify reports of an image.
type verified struct {
	Image    string
	Complete bool
	Parts    []struct {
		Missing []struct{ Kind, Digest, Reason string }
	}
}

func (s *subject) verify(t *testing.T, what string, args ...string) []verified {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), binary, append([]string{"mirror", "verify", "--json", "--config", s.config}, args...)...)
	var b bytes.Buffer
	cmd.Stderr = &b
	out, err := cmd.Output()
	var result struct{ Images []verified }
	if code := cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Fatalf("%s: verify: %v:\n%s", what, err, b.Bytes())
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatalf("%s: verify: %v:\n%s", what, err, out)
	}
	return result.Images
}

// checkWhole checks that everything is there, and nothing of what was begun.
func checkWhole(t *testing.T, s *subject, what, list string, count int) {
	t.Helper()
	for _, i := range s.verify(t, what, "--deep", "--file", list) {
		if i.Complete {
			count--
		}
	}
	files := checkStore(t, s.store)
	if count != 0 || len(files.ingest)+len(files.quarantined) > 0 {
		t.Errorf("%s, again: %d images are missing, ingest %q, quarantine %q", what, count, files.ingest, files.quarantined)
	}
}

// blobNames returns the names of the files of all blobs.
func blobNames(t *testing.T, store string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(store, "blobs"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			all = append(all, entry.Name())
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return slices.Clip(all)
}
