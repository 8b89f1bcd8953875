package fleet_test

import (
	"cmp"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// Many clients of ten gateways that share nothing but what they answer each other: the
// upstream is asked for everything once.
func TestTenGatewaysAskTheUpstreamOnce(t *testing.T) {
	t.Parallel()
	clients := testenv.Rounds(100, 1000)
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10, 300<<10, 2<<20)
	h := newHerd(t, from, 10, nil)
	h.pull(clients, image)
	for kind, want := range map[string][2]int{"blobs": {4, 0}, "manifests": {2, 1}} {
		if gets, heads := from.Count("GET", kind), from.Count("HEAD", kind); gets != want[0] || heads != want[1] {
			t.Errorf("%s: %d GET, %d HEAD, want %v", kind, gets, heads, want)
		}
	}
	// How much was sent is known once the upstream's handlers have returned.
	p, size := image.Platforms[0], int64(0)
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		size += d.Size
	}
	await(t, "the upstream has sent all of it", func() bool { return from.BlobBytes() >= size })
	if sent := from.BlobBytes(); sent > size+size/100 {
		t.Errorf("the upstream has sent %d bytes of blobs, of %d", sent, size)
	}
	t.Logf("%d clients: %d bytes of blobs, of %d", clients, from.BlobBytes(), size)
	// What they have now asks nobody.
	from.Reset()
	asked := make([]int64, len(h.gateways))
	for i, g := range h.gateways {
		asked[i] = g.fleet.Peers().Asked
	}
	h.pull(len(h.gateways), image)
	for i, g := range h.gateways {
		if now := g.fleet.Peers().Asked; now != asked[i] {
			t.Errorf("gateway %d asks others %d times", i, now-asked[i])
		}
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
}

// The bucket goes before other gateways, and what came from them says so.
func TestAnswersTellWhereTheyCameFrom(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10, 2<<20)
	h := newHerd(t, from, 2, nil)
	p := image.Platforms[0]
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		owner, others := h.owner(d.Digest.String())
		for _, g := range append([]*gateway{owner}, others...) {
			want := "pullgate; fwd=miss; stored"
			if g != owner {
				want += "; detail=peer"
			}
			if _, status, err := g.blob(repository, d.Digest); err != nil || status.String() != want {
				t.Errorf("%v, %v, want %s", status, err, want)
			}
		}
	}
	owner, others := h.owner(p.Manifest.Digest.String())
	_, status, err := others[0].manifest(repository, p.Manifest.Digest.String())
	if err != nil || status.Detail != "peer" {
		t.Errorf("manifest: %v, %v", status, err)
	}
	s := owner.fleet.Peers()
	if s.Answered == 0 || s.Sent < p.Manifest.Size || others[0].fleet.Peers().Received < p.Manifest.Size {
		t.Errorf("%+v", s)
	}
}

// held is a blob that the upstream begins to send, and goes on with once it is told to.
// Later requests for it are answered as ever.
func held(from *registrytest.Server, d digest.Digest) (begun <-chan struct{}, release func()) {
	started, going := make(chan struct{}), make(chan struct{})
	from.On(registrytest.Rule{Method: "GET", Kind: "blobs", Reference: d.String(), Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&halfWriter{ResponseWriter: w, half: func() {
			close(started)
			select {
			case <-going:
			case <-r.Context().Done():
			}
		}}, r)
	}})
	return started, func() { close(going) }
}

// halfWriter stops once after a good part.
type halfWriter struct {
	http.ResponseWriter

	written int
	half    func()
}

func (w *halfWriter) Write(p []byte) (int, error) {
	if w.written += len(p); w.written > 1<<20 && w.half != nil {
		half := w.half
		w.half = nil
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		half()
	}
	return w.ResponseWriter.Write(p)
}

// The owner is killed in the middle of a download: all clients of the others have right
// bytes, and one of the others downloads once more.
func TestOwnerIsKilled(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	d := from.PutRandom(repository, 1, 4<<20)
	h := newHerd(t, from, 4, nil)
	owner, others := h.owner(d.String())
	begun, release := held(from, d)
	defer release()
	done := make(chan error, 3*len(others))
	for n := range cap(done) {
		go func() { done <- others[n%len(others)].verify(d) }()
	}
	<-begun
	for _, g := range others {
		await(t, "the others follow", func() bool { return g.fleet.Peers().Received > 0 })
	}
	owner.leave()
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := from.Count("GET", "blobs"); n != 2 {
		t.Errorf("%d downloads", n)
	}
}

// What an owner sends wrong is not passed on, and asked of the upstream at the next try.
func TestOwnerIsWrong(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	h := newHerd(t, from, 2, nil)
	d := from.PutRandom(repository, 1, 2<<20)
	owner, others := h.owner(d.String())
	if err := owner.verify(d); err != nil {
		t.Fatal(err)
	}
	served, size, err := owner.store.ServeBlob(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	name := served.File.Name()
	_ = served.Close()
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := others[0].verify(d); err == nil {
		t.Error("wrong bytes end well")
	}
	if err := others[0].verify(d); err != nil {
		t.Error(err)
	}
}

// verify gets a blob, whose bytes have to be right.
func (g *gateway) verify(d digest.Digest) error {
	raw, _, err := g.blob(repository, d)
	if err == nil && !oci.Verify(d, raw) {
		err = errWrongBytes
	}
	return err
}

// A gateway that cannot ask the upstream is passed over.
func TestOwnerCannotAsk(t *testing.T) {
	t.Parallel()
	from, dead := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	dead.Refuse()
	image := from.PutImage(repository, "3", 1, 10, 300<<10)
	h := &herd{t: t, every: patience}
	h.add(newGateway(t, dead, nil))
	h.add(newGateway(t, from, nil))
	h.start()
	if err := h.gateways[1].fetch(image); err != nil {
		t.Error(err)
	}
	// Whose upstream is dead has all of it from the other one, where that is the owner.
	p := image.Platforms[0]
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if owner, _ := h.owner(d.Digest.String()); owner != h.gateways[1] {
			continue
		}
		if err := h.gateways[0].verify(d.Digest); err != nil {
			t.Error(err)
		}
	}
}

// Another gateway's answer opens to a repository only what its upstream has there, and one
// whose upstream is another one gives none.
func TestPeersKeepScopes(t *testing.T) {
	t.Parallel()
	from, other := registrytest.New(t, registrytest.Options{}), registrytest.New(t, registrytest.Options{})
	secret := from.PutImage("team-a/app", "1", 1, 10, 2<<20)
	h := newHerd(t, from, 3, nil)
	h.pull(3, secret)
	p := secret.Platforms[0]
	for _, g := range h.gateways {
		for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
			if _, _, err := g.blob("team-b/app", d.Digest); !oci.IsNotFound(err) {
				t.Errorf("blob of another repository: %v", err)
			}
		}
		if _, _, err := g.manifest("team-b/app", p.Manifest.Digest.String()); !oci.IsNotFound(err) {
			t.Errorf("manifest of another repository: %v", err)
		}
	}

	const others = upstreamName + "#0123456789ab"
	mixed := &herd{t: t, every: patience}
	mixed.add(newGateway(t, from, nil))
	mixed.add(newGateway(t, other, nil, func(u *mirror.Upstream) { u.Identity = others }))
	mixed.identities = []string{upstreamName, others}
	mixed.start()
	if err := mixed.gateways[0].fetch(secret); err != nil {
		t.Fatal(err)
	}
	for _, d := range append([]oci.Descriptor{p.Config}, p.Layers...) {
		if _, _, err := mixed.gateways[1].blob("team-a/app", d.Digest); !oci.IsNotFound(err) {
			t.Errorf("blob of another upstream: %v", err)
		}
	}
	if n := mixed.gateways[0].fleet.Peers().Answered + mixed.gateways[1].fleet.Peers().Answered; n > 0 {
		t.Errorf("%d answers about another upstream", n)
	}
}

// What the upstream refuses, the owner alone is told.
func TestUpstreamsWordIsPassedOn(t *testing.T) {
	t.Parallel()
	for status, class := range map[int]oci.Class{
		http.StatusNotFound: oci.ClassNotFound, http.StatusForbidden: oci.ClassDenied, http.StatusTooManyRequests: oci.ClassRateLimited,
	} {
		from := registrytest.New(t, registrytest.Options{})
		from.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(status)
		})
		h := newHerd(t, from, 3, nil)
		owner, others := h.owner(upstreamName + "/" + repository + ":none")
		if _, _, err := owner.manifest(repository, "none"); oci.ClassOf(err) != class {
			t.Fatalf("%d: %v", status, err)
		}
		from.Reset()
		for _, g := range others {
			if _, _, err := g.manifest(repository, "none"); oci.ClassOf(err) != class {
				t.Errorf("%d: %v", status, err)
			}
		}
		if n := len(from.Requests()); n > 0 {
			t.Errorf("%d: %d upstream requests", status, n)
		}
	}
}

// Where proofs expire, what the upstream refuses now is not served, whatever others have.
func TestExpiringProofsOfPeersAreConfirmed(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	d := from.PutRandom(repository, 1, 300<<10)
	h := newHerd(t, from, 3, nil, func(u *mirror.Upstream) { u.ProofTTL = time.Hour })
	owner, others := h.owner(d.String())
	if err := owner.verify(d); err != nil {
		t.Fatal(err)
	}
	from.Reset()
	if _, status, err := others[0].blob(repository, d); err != nil || status.Detail != "peer" {
		t.Errorf("it is confirmed: %v, %v", status, err)
	}
	if gets, heads := from.Count("GET", "blobs"), from.Count("HEAD", "blobs"); gets != 0 || heads != 1 {
		t.Errorf("%d GET, %d HEAD", gets, heads)
	}
	from.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(http.StatusForbidden) })
	if _, _, err := others[1].blob(repository, d); oci.ClassOf(err) != oci.ClassDenied {
		t.Errorf("it is refused: %v", err)
	}
}

// A registry that has blobs only once it was asked for their manifest is asked for it,
// although others have that.
func TestUpstreamIsSummonedBesidePeers(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10)
	h := newHerd(t, from, 3, nil)
	p := image.Platforms[0]
	for _, g := range h.gateways {
		for _, d := range []digest.Digest{image.Index.Digest, p.Manifest.Digest} {
			if _, _, err := g.manifest(repository, d.String()); err != nil {
				t.Fatal(err)
			}
		}
	}
	asked := make(chan struct{}, 100)
	from.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		switch {
		case strings.Contains(r.URL.Path, "/manifests/"):
			asked <- struct{}{}
		case strings.Contains(r.URL.Path, "/blobs/") && len(asked) == 0:
			w.WriteHeader(http.StatusNotFound)
			return
		}
		next(w, r)
	})
	layer := p.Layers[0].Digest
	_, others := h.owner(layer.String())
	if err := cmp.Or(others[0].verify(layer), others[1].verify(layer)); err != nil {
		t.Error(err)
	}
}
