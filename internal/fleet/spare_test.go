package fleet_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

const tagKey = "v1/t/" + upstreamName + "/" + repository + "/_/3"

// A tag of the bucket is a spare: an upstream that answers decides, and one that does not
// is asked again, however new the tag is.
func TestTagsOfTheBucketAreSpare(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	old := from.PutImage(repository, "3", 1, 10)
	newGateway(t, from, m).pull(old, 0)
	uploaded(t, m, old)
	moved := from.PutImage(repository, "3", 2, 10)
	if mf, _, err := newGateway(t, from, m).manifest(repository, "3"); err != nil || mf.Digest != moved.Index.Digest {
		t.Errorf("the upstream answers: %v", err)
	}
	await(t, "upload", func() bool {
		var now struct{ Digest string }
		o, err := m.object(tagKey)
		return err == nil && json.Unmarshal(o.content, &now) == nil && now.Digest == moved.Index.Digest.String()
	})

	from.Refuse()
	g := newGateway(t, from, m)
	for range 2 {
		mf, status, err := g.manifest(repository, "3")
		if err != nil || mf.Digest != moved.Index.Digest || status.Result != oci.ResultStale {
			t.Errorf("it is down: %v, %v", status, err)
		}
	}
	if err := from.Accept(); err != nil {
		t.Fatal(err)
	}
	last := from.PutImage(repository, "3", 3, 10)
	await(t, "answer of the upstream", func() bool {
		mf, _, err := g.manifest(repository, "3")
		return err == nil && mf.Digest == last.Index.Digest
	})
}

// What an upstream denies, the bucket does not give.
func TestSpareIsNotForTheDenied(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusNotFound, http.StatusForbidden} {
		from, m := registrytest.New(t, registrytest.Options{}), newMemory()
		image := from.PutImage(repository, "3", 1, 10)
		newGateway(t, from, m).pull(image, 0)
		uploaded(t, m, image)
		from.Hook(func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(status) })
		if _, _, err := newGateway(t, from, m).manifest(repository, "3"); oci.AsError(err).UpstreamStatus != status {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// An upstream that hangs is not waited for to its end where the bucket has a spare.
func TestHangingUpstreamIsSpared(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)
	gate, open := registrytest.Hold(t)
	defer open()
	from.Hook(func(http.ResponseWriter, *http.Request, http.HandlerFunc) { <-gate })
	g := newGateway(t, from, m, func(u *mirror.Upstream) { u.Timeout = time.Minute })
	began := time.Now()
	_, status, err := g.manifest(repository, "3")
	if err != nil || status.Result != oci.ResultStale || time.Since(began) > 40*time.Second {
		t.Errorf("%v, %v after %v", status, err, time.Since(began))
	}
}

// Of two gateways, the one that was told later has its way.
func TestLaterWordWins(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	g := newGateway(t, from, m)
	put := func(seed uint64, checked time.Time) storage.Tag {
		d := oci.Sum([]byte{byte(seed)})
		tag := storage.Tag{Digest: d, Size: 1, Checked: checked, Changed: checked}
		if err := g.fleet.Records().PutTag(t.Context(), own, "3", tag); err != nil {
			t.Fatal(err)
		}
		await(t, "upload", func() bool { return g.fleet.Status().Waiting == 0 })
		return tag
	}
	now := time.Now().Truncate(time.Second)
	raw, err := json.Marshal(map[string]any{"digest": oci.Sum([]byte("other")), "checked": now})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Put(t.Context(), tagKey, bytes.NewReader(raw), int64(len(raw)), bucket.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	put(1, now.Add(-time.Minute))
	later := put(2, now.Add(time.Minute))
	await(t, "upload", func() bool {
		var is struct{ Digest string }
		o, err := m.object(tagKey)
		return err == nil && json.Unmarshal(o.content, &is) == nil && is.Digest == later.Digest.String()
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writes != 2 {
		t.Errorf("%d writes, want the other's and the later one", m.writes)
	}
}

// Referrers come from the bucket while the upstream is dead, too.
func TestReferrersAreSpare(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10)
	g := newGateway(t, from, m)
	signature := oci.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: oci.Sum([]byte("signature")), Size: 9}
	found := storage.Referrers{Descriptors: []oci.Descriptor{signature}, Checked: time.Now()}
	if err := g.fleet.Records().PutReferrers(t.Context(), own, image.Index.Digest, found); err != nil {
		t.Fatal(err)
	}
	await(t, "upload", func() bool { return len(m.keys("v1/r/")) == 1 })
	from.Refuse()
	r := request(oci.KindReferrers, repository, oci.Reference{Digest: image.Index.Digest})
	list, status, err := newGateway(t, from, m).mirror.Referrers(t.Context(), r)
	if err != nil || len(list) != 1 || list[0].Digest != signature.Digest || status.Result != oci.ResultStale {
		t.Errorf("%v, %v: %v", list, status, err)
	}
}
