package fleet_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// rm removes by name, as mirror rm does.
func (g *gateway) rm(name string) {
	g.t.Helper()
	sel, err := oci.ParseSelection(name)
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.fleet.Purge(g.t.Context(), sel); err != nil {
		g.t.Fatal(err)
	}
	if _, err := g.store.Remove(g.t.Context(), storage.RemoveOptions{Selection: sel}); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.t.Fatal(err)
	}
}

// serves returns what a gateway serves of an image.
func (g *gateway) serves(image registrytest.Image) (served []string) {
	p := image.Platforms[0]
	for _, ref := range []string{image.Tag, image.Index.Digest.String(), p.Manifest.Digest.String()} {
		if _, _, err := g.manifest(image.Repository, ref); err == nil {
			served = append(served, ref)
		}
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if _, _, err := g.blob(image.Repository, d.Digest); err == nil {
			served = append(served, d.Digest.String())
		}
	}
	return served
}

// stored waits until all is stored that clients have, which they have before that.
func (g *gateway) stored() {
	g.t.Helper()
	await(g.t, "downloads", func() bool { s := g.cache.Stats(); return s.Fills == 0 && s.LookUps == 0 })
}

// settled waits until all is stored, and nothing is left to be uploaded.
func (g *gateway) settled(uploads int) {
	g.t.Helper()
	g.stored()
	await(g.t, "uploads", func() bool { return g.fleet.Status().Waiting <= uploads })
}

// nothing wants a gateway to serve nothing of an image.
func (g *gateway) nothing(who string, image registrytest.Image) {
	g.t.Helper()
	if served := g.serves(image); len(served) > 0 {
		g.t.Errorf("%s serves %v", who, served)
	}
}

// What is removed on one gateway, no other one serves any more, nor does the bucket have
// it: not the one that runs, nor one that was paused, nor one that is new. Others keep
// theirs.
func TestPurgeIsSeenByAll(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"docker.io/library/alpine:3", "docker.io/library/alpine@", "docker.io/library/alpine", "docker.io"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, m := registrytest.New(t, registrytest.Options{}), newMemory()
			image, other := from.PutImage(repository, "3", 1, 10, 300<<10), from.PutImage("library/other", "3", 2, 10)
			next := from.PutImage(repository, "4", 3, 20)
			first, second, paused := newGateway(t, from, m), newGateway(t, from, m), newGateway(t, from, m)
			for _, g := range []*gateway{first, second, paused} {
				for _, i := range []registrytest.Image{image, other, next} {
					g.pull(i, 0)
				}
				g.settled(0)
			}
			uploaded(t, m, image)
			from.Refuse()
			if strings.HasSuffix(name, "@") {
				name += image.Index.Digest.String()
			}
			first.rm(name)
			paused.fleet.Pause()
			paused.nothing("one that was paused", image)
			first.nothing("the gateway itself", image)
			await(t, "it is seen", func() bool { return len(second.serves(image)) == 0 })
			newGateway(t, from, m).nothing("a new one", image)
			for _, prefix := range []string{"v1/t/docker.io/library/alpine/_/3", "v1/l/docker.io/library/alpine/_/sha256-" + image.Index.Digest.Encoded()} {
				if keys := m.keys(prefix); len(keys) > 0 {
					t.Errorf("the bucket has %v", keys)
				}
			}
			await(t, "it is removed there", func() bool {
				_, err := second.store.Manifest(t.Context(), image.Index.Digest)
				return errors.Is(err, fs.ErrNotExist)
			})
			if strings.Contains(name, "alpine") {
				second.pull(other, 0)
			}
			if strings.ContainsAny(name, ":@") {
				second.pull(next, 0)
				paused.pull(next, 0)
			}
			// Once the upstream says so again, it is back.
			if err := from.Accept(); err != nil {
				t.Fatal(err)
			}
			newGateway(t, from, m).pull(image, 0)
			uploaded(t, m, image)
			for _, g := range []*gateway{first, second, paused} {
				await(t, "it is back", func() bool { return len(g.serves(image)) >= 2+1+len(image.Platforms[0].Layers) })
			}
		})
	}
}

// Proofs and tags that reach the bucket late bring nothing back that was removed meanwhile,
// nor does the comparison of a gateway that has not heard of it.
func TestLateUploadsBringNothingBack(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"v1/l/", "v1/t/"} {
		from, m := registrytest.New(t, registrytest.Options{}), newMemory()
		image := from.PutImage(repository, "3", 1, 10, 300<<10)
		late, other := newGateway(t, from, m), newGateway(t, from, m)
		release := m.hold(folder)
		late.pull(image, 0)
		late.settled(1 << 10)
		from.Refuse()
		other.rm("docker.io/library/alpine")
		release()
		await(t, "late uploads", func() bool { return len(m.keys(folder)) > 0 })
		late.fleet.Pause()
		late.nothing("the late one", image)
		if _, err := late.fleet.Sync(t.Context(), nil); err != nil {
			t.Error(err)
		}
		other.nothing("the other one", image)
		newGateway(t, from, m).nothing("a new one", image)
	}
}

// copyFolder copies files and folders.
func copyFolder(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	return to
}

// What was removed while a gateway was stopped, it never serves: not from its storage, nor
// from a copy of it that is older than what it knows, nor does it bring that back. What it
// does not know for too long it has confirmed, and downloads nothing for that.
func TestStoppedGatewayForgets(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image, other := from.PutImage(repository, "3", 1, 10, 300<<10), from.PutImage("library/other", "3", 2, 10)
	path := filepath.Join(t.TempDir(), "store")
	stopped, running := newGatewayAt(t, path, from, m, (*fleet.Fleet).Relax, time.Now), newGateway(t, from, m)
	stopped.pull(image, 0)
	stopped.pull(other, 0)
	stopped.settled(0)
	uploaded(t, m, image)
	stopped.close()
	running.rm("docker.io/library/alpine:3")
	from.Refuse()
	backup, forgotten := copyFolder(t, path), copyFolder(t, path)

	stopped = newGatewayAt(t, path, from, m, (*fleet.Fleet).Relax, time.Now)
	stopped.nothing("one that was stopped", image)
	stopped.pull(other, 0)
	await(t, "it is done", func() bool { return stopped.fleet.Cursor() != "" })
	stopped.close()

	known, err := os.ReadFile(filepath.Join(path, "shared.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(backup, "shared.json"), known, 0o600); err != nil {
		t.Fatal(err)
	}
	restored := newGatewayAt(t, backup, from, m, (*fleet.Fleet).Relax, time.Now)
	restored.nothing("a restored one", image)
	if _, err := restored.fleet.Sync(t.Context(), nil); err != nil {
		t.Error(err)
	}
	newGateway(t, from, m).nothing("a new one", image)

	var kept fleet.Kept
	if err := json.Unmarshal(known, &kept); err != nil || kept.Cursor == "" || time.Since(kept.Read) > time.Hour {
		t.Errorf("%+v, %v", kept, err)
	}
	kept.Read = time.Now().Add(-31 * 24 * time.Hour)
	if known, err = json.Marshal(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(forgotten, "shared.json"), known, 0o600); err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	clear(m.objects)
	m.mu.Unlock()
	old := newGatewayAt(t, forgotten, from, m, (*fleet.Fleet).Relax, time.Now)
	old.nothing("one that knows nothing for a month", other)
	if err := from.Accept(); err != nil {
		t.Fatal(err)
	}
	from.Reset()
	old.close()
	newGatewayAt(t, forgotten, from, m, (*fleet.Fleet).Relax, time.Now).pull(other, 0)
	if n := from.Count("GET", "blobs"); n > 0 {
		t.Errorf("%d blobs were downloaded again", n)
	}
}

// While the bucket cannot be written, nothing is removed; while it cannot be read, what is
// there is served.
func TestPurgeNeedsTheBucket(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	g := newGateway(t, from, m)
	g.pull(image, 0)
	uploaded(t, m, image)
	from.Refuse()
	sel := oci.Selection{Upstream: upstreamName, Repository: repository}
	for _, fail := range [][2]fault{{faults()[0], {}}, {{}, faults()[0]}} {
		m.fail(fail[0], fail[1])
		if _, err := g.fleet.Purge(t.Context(), sel); err == nil {
			t.Error("it has no error")
		}
		g.fleet.Pause()
		g.pull(image, 0)
	}
	await(t, "status", func() bool { return g.fleet.Status().PurgeError != "" || g.fleet.Status().ReadError == "" })
	m.fail(fault{}, fault{})
	if keys := m.keys("v1/x/"); len(keys) > 0 {
		t.Errorf("purges are %v", keys)
	}
	plan, err := g.fleet.PlanPurge(t.Context(), sel)
	if err != nil || plan.Tags != 1 || plan.Proofs != 4 {
		t.Errorf("%+v, %v", plan, err)
	}
}
