package caddymodule

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// pullsOf returns the pulls of a repository, the newest first.
func pullsOf(t *testing.T, g operate.Gateway, image string) operate.Pulls {
	t.Helper()
	seen, err := g.Pulls(t.Context(), operate.PullsRequest{Image: image})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// What is known of pulls comes from what was asked for and sent, survives reloads, and is
// the same over the admin API.
func TestPulls(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer})
	repository := "pulls/" + strings.ToLower(rand.Text())
	image := upstream.PutImage(repository, "1", 21, 2<<20, 3<<20)
	s := newSite(t)
	config := func(ttl string) string {
		return fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\ntag_ttl %s\nlook_ahead off\ndeny */secret\n}\n}", upstream.URL(), ttl)
	}
	s.load(config("1h"))
	s.client().pull("/v2/proxy-docker.io", image)
	filled(t)
	s.load(config("2h"))
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	if response, _ := c.get("/v2/proxy-docker.io/pulls/secret/manifests/" + repository[6:]); response.StatusCode != http.StatusForbidden {
		t.Errorf("the refused pull: %s", response.Status)
	}
	c.settle()

	seen := pullsOf(t, gateway(), "docker.io/"+repository)
	if len(seen.Recent) != 2 || len(seen.Running) != 0 {
		t.Fatalf("%d pulls ended and %d run: %+v", len(seen.Recent), len(seen.Running), seen)
	}
	warm, cold := seen.Recent[0], seen.Recent[1]
	platform := image.Platforms[0]
	blobs := platform.Config.Size + 5<<20
	all := int64(len(image.IndexBytes)+len(platform.ManifestBytes)) + blobs
	subject := operate.PullSubject{
		Image: "docker.io/" + repository + ":1", Digest: image.Index.Digest.String(), Platform: "linux/amd64", Upstream: "docker.io", Client: "127.0.0.1",
	}
	for _, of := range []struct {
		pull  operate.Pull
		cache string
		bytes operate.PullBytes
		asked string
	}{
		{cold, "miss", operate.PullBytes{Bytes: all, TotalBytes: blobs, UpstreamBytes: all}, "token:1 head_manifest:2 get_manifest:2 get_blob:3"},
		{warm, "hit", operate.PullBytes{Bytes: all, TotalBytes: blobs, CacheBytes: all}, ""},
	} {
		p, asked := of.pull, []string{}
		for _, q := range p.Asked {
			asked = append(asked, fmt.Sprintf("%s:%d", q.Op, q.Requests))
		}
		if p.PullSubject != subject || p.Result != operate.PullOK || p.Cache != of.cache || p.PullBytes != of.bytes || p.Requests != 5 {
			t.Errorf("%s: it is %+v", of.cache, p)
		}
		if !sameWords(strings.Join(asked, " "), of.asked) {
			t.Errorf("%s: the upstream was asked for %v, want %s", of.cache, asked, of.asked)
		}
		s := p.Seconds
		if sum := s.LookUp + s.Token + s.Queue + s.FirstByte + s.Transfer + s.Client; sum-p.Took().Seconds() > 1e-6 || p.Took().Seconds()-sum > 1e-6 {
			t.Errorf("%s: the parts %+v add up to %v, not %v", of.cache, s, sum, p.Took())
		}
	}
	if refused := pullsOf(t, gateway(), "docker.io/pulls/secret:"+repository[6:]).Recent; len(refused) != 1 || refused[0].Result != operate.PullFailed || !strings.Contains(refused[0].Error, "denied") {
		t.Errorf("the refused pull is %+v", refused)
	}
	base, _ := adminServer(t)
	if got := pullsOf(t, httpClient(base), repository); len(got.Recent) != 2 || got.Recent[1].PullBytes != cold.PullBytes ||
		got.Recent[1].Seconds != cold.Seconds || !reflect.DeepEqual(got.Recent[1].Asked, cold.Asked) {
		t.Errorf("the admin API tells of %+v", got.Recent)
	}
}

// sameWords compares two lists, whatever their order.
func sameWords(a, b string) bool {
	count := map[string]int{}
	for word := range strings.FieldsSeq(a) {
		count[word]++
	}
	for word := range strings.FieldsSeq(b) {
		count[word]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// What preload brings is apart: it is neither prefetched nor does it count as received
// for nothing.
func TestPreloadIsApart(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("pulls/ahead", "1", 22, 1<<20)
	s := newSite(t)
	s.load(fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\ntag_ttl 1h\n}\n}", upstream.URL()))
	traffic := func() (hub operate.Traffic) {
		for _, of := range counted.Traffic() {
			if of.Name == "docker.io" {
				hub = of
			}
		}
		return hub
	}
	before := traffic()
	if _, last := askImages(t, imageServer(t)+operate.PreloadPath+"?platform=linux/amd64", "docker.io/pulls/ahead:1"); last.Totals == nil || last.Totals.Complete != 1 {
		t.Fatalf("preload: %+v", last)
	}
	filled(t)
	s.client().pull("/v2/proxy-docker.io", image)
	after := traffic()
	blobs := image.Platforms[0].Config.Size + 1<<20
	if n := after.Preloaded - before.Preloaded; n != blobs {
		t.Errorf("%d bytes were preloaded, want %d", n, blobs)
	}
	if after.Prefetched != before.Prefetched || after.Hits-before.Hits != 4 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	if saved := after.Saved() - before.Saved(); saved < 1<<20 {
		t.Errorf("%d bytes were saved", saved)
	}
}
