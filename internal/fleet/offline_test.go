package fleet_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// An upstream that is not asked is served from the bucket by an empty gateway, and only
// what it has shown to have; what is nowhere is unknown, and not remembered for long.
func TestOfflineUpstreamIsServedFromTheBucket(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 3<<20)
	online := newGateway(t, from, m)
	online.pull(image, 0)
	signature := oci.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: oci.Sum([]byte("signature")), Size: 9}
	found := storage.Referrers{Descriptors: []oci.Descriptor{signature}, Checked: time.Now()}
	if err := online.fleet.Records().PutReferrers(t.Context(), own, image.Index.Digest, found); err != nil {
		t.Fatal(err)
	}
	uploaded(t, m, image)
	await(t, "upload", func() bool { return len(m.keys("v1/r/")) == 1 })

	offline := func() *gateway {
		g := bareGateway(t, t.TempDir(), m, (*fleet.Fleet).Relax, time.Now)
		g.serve(mirror.Upstream{Name: upstreamName, Access: mirror.Access{Public: true}, Offline: true, Backed: true, ProofTTL: time.Nanosecond})
		return g
	}
	g := offline()
	from.Reset()
	mf, status, err := g.manifest(repository, "3")
	if err != nil || mf.Digest != image.Index.Digest || status.String() != "pullgate; hit" {
		t.Errorf("by tag: %v, %v", status, err)
	}
	list, status, err := g.mirror.Referrers(t.Context(), request(oci.KindReferrers, repository, oci.Reference{Digest: image.Index.Digest}))
	if err != nil || len(list) != 1 || status.Result == oci.ResultStale {
		t.Errorf("referrers: %v, %v, %v", list, status, err)
	}
	layer := image.Platforms[0].Layers[1].Digest
	if d, _, err := g.mirror.StatBlob(t.Context(), request(oci.KindBlob, repository, oci.Reference{Digest: layer})); err != nil || d.Size != 3<<20 {
		t.Errorf("size: %v, %v", d, err)
	}
	if _, status, err := g.blob(repository, layer); err != nil || status.String() != "pullgate; fwd=miss; stored; detail=bucket" {
		t.Errorf("blob: %v, %v", status, err)
	}
	calls := func() int64 { return m.calls.Load() }
	g.pull(image, 0)
	g.settled(0)
	before := calls()
	g.pull(image, 0)
	if after := calls(); after != before {
		t.Errorf("%d calls of the bucket for what is cached", after-before)
	}

	for what, try := range map[string]func() error{
		"blob": func() error { _, _, err := g.blob("library/other", layer); return err },
		"size": func() error {
			_, _, err := g.mirror.StatBlob(t.Context(), request(oci.KindBlob, "library/other", oci.Reference{Digest: layer}))
			return err
		},
		"manifest": func() error { _, _, err := g.manifest("library/other", image.Index.Digest.String()); return err },
		"tag":      func() error { _, _, err := g.manifest(repository, "none"); return err },
	} {
		var e *oci.Error
		if err := try(); !errors.As(err, &e) || e.Status != http.StatusNotFound {
			t.Errorf("%s that is unknown: %v", what, err)
		}
	}
	none, _, err := g.mirror.Referrers(t.Context(), request(oci.KindReferrers, repository, oci.Reference{Digest: layer}))
	if err != nil || len(none) > 0 {
		t.Errorf("no referrers: %v, %v", none, err)
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
	// That a blob is unknown keeps nothing else of its repository from the bucket.
	other := offline()
	if _, _, err := other.blob(repository, oci.Sum([]byte("unknown"))); err == nil {
		t.Error("an unknown blob is served")
	}
	if mf, _, err := other.manifest(repository, image.Platforms[0].Manifest.Digest.String()); err != nil {
		t.Errorf("manifest %s: %v", mf.Digest, err)
	}
	g.fleet.Use("", nil)
	if _, _, err := g.blob("library/other", layer); err == nil {
		t.Error("it is served without a bucket")
	}
	if raw, _, err := g.blob(repository, layer); err != nil || !oci.Verify(layer, raw) {
		t.Errorf("cached: %v", err)
	}
}

// What a gateway has not that does not ask the upstream is no word of the upstream.
func TestOfflineGatewaysAnswerForNobody(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10, 20, 30, 40, 50, 60, 70, 80)
	online, offline := newGateway(t, from, nil), bareGateway(t, t.TempDir(), nil, (*fleet.Fleet).Relax, time.Now)
	offline.serve(mirror.Upstream{Name: upstreamName, Access: mirror.Access{Public: true}, Offline: true, Backed: true})
	h := &herd{t: t, every: patience}
	h.add(online)
	h.add(offline)
	h.start()
	if err := online.fetch(image); err != nil {
		t.Error(err)
	}
	if offline.fleet.Peers().Answered == 0 {
		t.Error("it was not asked")
	}
}

// An upstream that is not asked has the tags that any gateway has pulled, without those that
// were removed, whatever has come to the bucket since.
func TestOfflineUpstreamHasTheTagsOfTheBucket(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	online := newGateway(t, from, m)
	for n, tag := range []string{"1", "2", "3"} {
		online.pull(from.PutImage(repository, tag, uint64(n), 10), 0)
	}
	const at = "v1/t/" + upstreamName + "/" + repository + "/_/"
	await(t, "uploads", func() bool { return len(m.keys(at)) == 3 })
	old, err := m.object(at + "2")
	if err != nil {
		t.Fatal(err)
	}
	online.settled(0)
	online.rm("docker.io/" + repository + ":2")
	m.put(at+"2", old.content, 0)
	g := bareGateway(t, t.TempDir(), m, (*fleet.Fleet).Relax, time.Now)
	g.serve(mirror.Upstream{Name: upstreamName, Access: mirror.Access{Public: true}, Offline: true, Backed: true})
	list := func(repository string, page oci.TagsPage) ([]string, error) {
		found, _, err := g.mirror.Tags(t.Context(), request(oci.KindTags, repository, oci.Reference{}), page)
		return found.Tags, err
	}
	for range 2 {
		if tags, err := list(repository, oci.TagsPage{N: -1}); err != nil || !slices.Equal(tags, []string{"1", "3"}) {
			t.Errorf("%v, %v", tags, err)
		}
	}
	if tags, err := list(repository, oci.TagsPage{N: 1, Last: "1"}); err != nil || !slices.Equal(tags, []string{"3"}) {
		t.Errorf("the second page: %v, %v", tags, err)
	}
	var e *oci.Error
	if tags, err := list("library/other", oci.TagsPage{N: -1}); !errors.As(err, &e) || e.Status != http.StatusNotFound {
		t.Errorf("another repository: %v, %v", tags, err)
	}
	m.fail(faults()[0], fault{})
	if tags, err := list(repository, oci.TagsPage{N: -1}); err != nil || len(tags) != 2 {
		t.Errorf("without the bucket: %v, %v", tags, err)
	}
}
