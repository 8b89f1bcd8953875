package fleet_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// What the bucket has is nobody's whose upstream has not confirmed it for this very
// repository.
func TestScopesAreKept(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	secret := from.PutImage("team-a/app", "1", 1, 10, 2<<20)
	newGateway(t, from, m).pull(secret, 0)
	uploaded(t, m, secret)
	p := secret.Platforms[0]

	g := newGateway(t, from, m)
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if _, _, err := g.blob("team-b/app", d.Digest); !oci.IsNotFound(err) {
			t.Errorf("blob of another repository: %v", err)
		}
		r := request(oci.KindBlob, "team-b/app", oci.Reference{Digest: d.Digest})
		if _, _, err := g.mirror.StatBlob(t.Context(), r); !oci.IsNotFound(err) {
			t.Errorf("size of a blob of another repository: %v", err)
		}
	}
	for _, d := range []oci.Descriptor{secret.Index, p.Manifest} {
		if _, _, err := g.manifest("team-b/app", d.Digest.String()); !oci.IsNotFound(err) {
			t.Errorf("manifest of another repository: %v", err)
		}
	}
	// Nor does it help that the repository merely names it, or that the gateway has it.
	g.pull(secret, 0)
	for _, d := range p.Layers {
		if _, _, err := g.blob("team-b/app", d.Digest); !oci.IsNotFound(err) {
			t.Errorf("blob of another repository: %v", err)
		}
	}
	if keys := m.keys("v1/l/" + upstreamName + "/team-b/"); len(keys) > 0 {
		t.Errorf("proofs of another repository: %v", keys)
	}
}

// Another upstream delivers what the bucket has of the first one itself: its identity has
// no proof.
func TestIdentitiesAreKept(t *testing.T) {
	t.Parallel()
	from, other, m := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)
	g := newGateway(t, other, m, func(u *mirror.Upstream) { u.Identity = upstreamName + "#0123456789ab" })
	g.fleet.Use("memory", m)
	for _, d := range image.Platforms[0].Layers {
		if _, _, err := g.blob(repository, d.Digest); !oci.IsNotFound(err) {
			t.Errorf("blob of another upstream: %v", err)
		}
	}
}

// Where proofs expire, what the upstream refuses now is not served, whatever the bucket
// says; while the upstream is down, it is.
func TestExpiringProofsAreConfirmed(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	layer := image.Platforms[0].Layers[0].Digest
	expiring := func(u *mirror.Upstream) { u.ProofTTL = time.Hour }
	newGateway(t, from, m, expiring).pull(image, 0)
	uploaded(t, m, image)

	from.Reset()
	if _, status, err := newGateway(t, from, m, expiring).blob(repository, layer); err != nil || status.Detail != "bucket" {
		t.Errorf("it is confirmed: %v, %v", status, err)
	}
	if gets, heads := from.Count("GET", "blobs"), from.Count("HEAD", "blobs"); gets != 0 || heads != 1 {
		t.Errorf("%d GET, %d HEAD", gets, heads)
	}
	from.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(http.StatusForbidden) })
	g := newGateway(t, from, m, expiring)
	if _, _, err := g.blob(repository, layer); oci.ClassOf(err) != oci.ClassDenied {
		t.Errorf("it is refused: %v", err)
	}
	if _, _, err := g.manifest(repository, image.Index.Digest.String()); oci.ClassOf(err) != oci.ClassDenied {
		t.Errorf("its manifest is refused: %v", err)
	}
	from.Refuse()
	if raw, _, err := newGateway(t, from, m, expiring).blob(repository, layer); err != nil || !oci.Verify(layer, raw) {
		t.Errorf("the upstream is down: %v", err)
	}
}

// A proof goes with what the upstream has not any more.
func TestRefutedProofsGo(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	g := newGateway(t, from, m)
	g.pull(image, 0)
	uploaded(t, m, image)
	layer := image.Platforms[0].Layers[0].Digest
	if err := g.fleet.Records().Refute(t.Context(), own, layer); err != nil {
		t.Fatal(err)
	}
	key := "v1/l/" + upstreamName + "/" + repository + "/_/sha256-" + layer.Encoded()
	await(t, "removal", func() bool { return len(m.keys(key)) == 0 })
	if err := g.fleet.Records().DeleteTag(t.Context(), own, "3"); err != nil {
		t.Fatal(err)
	}
	await(t, "removal", func() bool { return len(m.keys("v1/t/")) == 0 })
}

// A registry that has blobs only once it was asked for their manifest is asked for it,
// although the bucket has it.
func TestUpstreamIsSummoned(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)
	for _, key := range m.keys("v1/b/") { // it has the manifests alone
		if err := m.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	layer := image.Platforms[0].Layers[0].Digest
	var asked atomic.Bool
	from.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			asked.Store(true)
		case strings.Contains(r.URL.Path, "/blobs/") && !asked.Load():
			w.WriteHeader(http.StatusNotFound)
			return
		}
		next(w, r)
	})
	g := newGateway(t, from, m)
	for _, d := range []digest.Digest{image.Index.Digest, image.Platforms[0].Manifest.Digest} {
		if _, _, err := g.manifest(repository, d.String()); err != nil {
			t.Fatal(err)
		}
	}
	if raw, _, err := g.blob(repository, layer); err != nil || !oci.Verify(layer, raw) {
		t.Errorf("blob: %v", err)
	}
}

var _ bucket.Objects = (*memory)(nil)
