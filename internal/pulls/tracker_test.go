package pulls

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/upstream"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-6 }

// A cold pull, as containerd does it, of an image whose rest is pulled ahead: its time is
// split, its bytes have their sources, and one line tells of it.
func TestColdPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		began := time.Now()
		asked := w.Asked(hub)

		tag := w.ask(node, http.MethodHead, oci.KindManifest, "1.27")
		time.Sleep(3 * time.Second)
		asked(upstream.Observation{Op: "token", Repository: repo, Duration: 2 * time.Second})
		asked(upstream.Observation{Op: "head_manifest", Repository: repo, Duration: time.Second})
		asked(upstream.Observation{Op: "token", Repository: "library/other", Duration: time.Second})
		tag.header(oci.ResultMiss, i.index).done(0)
		w.get(node, oci.KindManifest, i.index, oci.ResultMiss)
		w.get(node, oci.KindManifest, i.manifest, oci.ResultMiss)

		config := w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[0].String())
		time.Sleep(time.Second) // for a turn
		done := w.download(node, i.blobs[0], false)
		time.Sleep(2 * time.Second)
		asked(upstream.Observation{Op: "get_blob", Repository: repo, Duration: 2 * time.Second, Class: oci.ClassTimeout})
		config.header(oci.ResultMiss, i.blobs[0])
		ahead := w.download(node, i.blobs[1], true)
		late := w.download(node, i.blobs[2], true)
		time.Sleep(4 * time.Second)
		if seen := w.Pulls(operate.PullsRequest{Image: "nginx:1.27"}); len(seen.Running) != 1 || seen.Running[0].Phase != "transfer" ||
			seen.Running[0].TotalBytes != 3000 || seen.Running[0].Result != operate.PullRunning {
			t.Errorf("while it runs: %+v", seen.Running)
		}
		done()
		ahead()
		config.done(1000)
		if result := w.get(node, oci.KindBlob, i.blobs[1], oci.ResultHit); result != oci.ResultPrefetched {
			t.Errorf("what came ahead is a %s", result)
		}
		last := w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[2].String()).header(oci.ResultJoined, i.blobs[2])
		late()
		time.Sleep(5 * time.Second)
		if len(w.ended) > 0 {
			t.Fatal("it ended before its last byte")
		}
		if result := last.done(1000); result != oci.ResultJoined {
			t.Errorf("what was still coming is a %s", result)
		}

		if len(w.ended) != 1 {
			t.Fatalf("%d pulls ended", len(w.ended))
		}
		p := w.ended[0]
		manifests := int64(len(w.manifests[i.index].Bytes) + len(w.manifests[i.manifest].Bytes))
		want := operate.PullBytes{
			Bytes: 3000 + manifests, TotalBytes: 3000, PrefetchedBytes: 1000, UpstreamBytes: 3000 + manifests,
		}
		if p.PullBytes != want {
			t.Errorf("bytes are %+v, want %+v", p.PullBytes, want)
		}
		if p.Image != "docker.io/library/nginx:1.27" || p.Digest != i.index.String() || p.Platform != "linux/amd64" ||
			p.Client != "10.0.0.5" || p.User != "talos" || p.Result != operate.PullOK || p.Cache != "miss" || p.Requests != 6 || p.UpstreamRequests != 3 {
			t.Errorf("it is %+v", p)
		}
		s := p.Seconds
		if !near(s.Token, 2) || !near(s.LookUp, 1) || !near(s.Queue, 1) || !near(s.FirstByte, 2) || !near(s.Transfer, 4) || !near(s.Client, 5) {
			t.Errorf("its time went to %+v", s)
		}
		if took := time.Since(began); p.Took() != took {
			t.Errorf("it took %v, want %v", p.Took(), took)
		}
		if q := p.Asked[2]; q.Op != "get_blob" || q.Failed != 1 || q.Class != "timeout" || !near(q.Seconds, 2) {
			t.Errorf("the upstream was asked for %+v", p.Asked)
		}
		if n := strings.Count(w.lines.String(), "\n"); n != 1 || !strings.Contains(w.lines.String(), `msg="image pulled" image=docker.io/library/nginx:1.27 client=10.0.0.5 user=talos`) {
			t.Errorf("%d lines: %s", n, &w.lines)
		}
	})
}

// What the cache has is a hit.
func TestWarmPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		for range 3 {
			w.head(node, "1.27", i.index)
			w.get(node, oci.KindManifest, i.index, oci.ResultHit)
			w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
			for _, d := range i.blobs {
				w.get(node, oci.KindBlob, d, oci.ResultHit)
			}
		}
		if len(w.contents.order) != 2 || len(w.ended) != 3 {
			t.Errorf("%d manifests were read for %d pulls", len(w.contents.order), len(w.ended))
		}
		for _, p := range w.ended {
			if p.Cache != "hit" || p.CacheBytes != p.Bytes || p.UpstreamBytes != 0 {
				t.Errorf("it was %+v", p)
			}
		}
		seen := w.Pulls(operate.PullsRequest{})
		if len(seen.Clients) != 1 || seen.Clients[0].Pulls != 3 || seen.Clients[0].Requests != 18 || len(seen.Images) != 1 || seen.Images[0].Pulls != 3 ||
			len(seen.Recent) != 3 || len(seen.Running) != 0 {
			t.Errorf("what is known is %+v", seen)
		}
	})
}

// Who has some of the layers asks for the others, and ends with the last of these.
func TestIdlePull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		began := time.Now()
		w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
		time.Sleep(3 * time.Second)
		w.get(node, oci.KindBlob, i.blobs[2], oci.ResultHit)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(w.ended) != 1 || w.ended[0].Result != operate.PullOK || w.ended[0].Ended.Sub(began) != 3*time.Second || !near(w.ended[0].Seconds.Client, 3) {
			t.Errorf("ended %+v", w.ended)
		}
		if w.ended[0].Image != "docker.io/library/nginx@"+i.manifest.String() {
			t.Errorf("the image is %s", w.ended[0].Image)
		}
		if pulls, _, _, _ := w.sizes(); pulls != 0 || w.sweeping {
			t.Errorf("%d pulls are left, sweeping: %v", pulls, w.sweeping)
		}
	})
}

// Polling a tag pulls nothing, and a signature that is not there fails nothing.
func TestPollsAreNoPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		w.head(node, "1.27", i.index)
		w.ask(node, http.MethodGet, oci.KindManifest, "sha256-"+i.index.Encoded()+".sig").fail(404, oci.NewError(oci.CodeManifestUnknown, "no"))
		for range 100 {
			w.ask(node, http.MethodGet, oci.KindManifest, "1.27").header(oci.ResultHit, i.index).done(400)
			w.get(node, oci.KindManifest, i.index, oci.ResultHit)
			time.Sleep(10 * time.Second)
		}
		began := time.Now()
		w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
		if len(w.ended) != 0 || w.lines.Len() > 0 {
			t.Errorf("ended %+v: %s", w.ended, &w.lines)
		}
		for _, d := range i.blobs { // what comes in the end is a pull
			w.get(node, oci.KindBlob, d, oci.ResultHit)
		}
		if len(w.ended) != 1 || began.Sub(w.ended[0].Began) > 10*time.Second || !strings.HasSuffix(w.ended[0].Image, ":1.27") {
			t.Errorf("ended %+v", w.ended)
		}
	})
}

// What a poll has set off still counts when the pull begins; where the tag leads
// elsewhere by then, the pull is of what it leads to.
func TestPollBeforePull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		old, now := w.image("old", 3), w.image("new", 1)
		poll := func(i image) {
			w.ask(node, http.MethodGet, oci.KindManifest, "1.27").header(oci.ResultHit, i.manifest).done(400)
			time.Sleep(5 * time.Second)
		}
		poll(old)
		w.download(node, now.blobs[1], true)()
		poll(old)
		poll(now)
		poll(now)
		if result := w.get(node, oci.KindBlob, now.blobs[1], oci.ResultHit); result != oci.ResultHit {
			t.Errorf("what came for another image is a %s", result)
		}
		w.get(node, oci.KindBlob, now.blobs[0], oci.ResultHit)
		if len(w.ended) != 1 || w.ended[0].Digest != now.manifest.String() || w.ended[0].TotalBytes != 2000 || w.ended[0].Bytes != 2400 {
			t.Fatalf("ended %+v", w.ended)
		}
		poll(old)
		w.download(node, old.blobs[1], true)()
		poll(old)
		if result := w.get(node, oci.KindBlob, old.blobs[1], oci.ResultHit); result != oci.ResultPrefetched {
			t.Errorf("what a poll has brought is a %s", result)
		}
	})
}

// A pull fails with what was refused, unless that comes in the end; who leaves has not
// been refused anything.
func TestFailedPulls(t *testing.T) {
	refusal := oci.UpstreamError(oci.ClassRateLimited, "", "limits pulls until 14:05", nil)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 1)
		result := func(want, text string) {
			t.Helper()
			time.Sleep(time.Minute)
			synctest.Wait()
			if len(w.ended) != 1 || w.ended[0].Result != want || w.ended[0].Error != text {
				t.Errorf("ended %+v, want %s: %s", w.ended, want, text)
			}
			w.ended = nil
		}
		w.ask(node, http.MethodHead, oci.KindManifest, "1.27").fail(429, refusal)
		result(operate.PullFailed, refusal.Message)
		begin := func() *call {
			w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
			w.get(node, oci.KindBlob, i.blobs[0], oci.ResultHit)
			return w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[1].String())
		}
		begin().fail(502, refusal)
		result(operate.PullFailed, refusal.Message)
		begin().fail(499, errors.New("broken pipe"))
		result(operate.PullAborted, "the client left")
		begin().fail(502, refusal)
		w.get(node, oci.KindBlob, i.blobs[1], oci.ResultHit)
		result(operate.PullOK, "")
	})
}

// Two clients of one image: what comes for one is joined by the other, and a hit for it
// later; but whose pull the bytes were brought for never calls them one.
func TestTwoClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		other := "talos@10.0.0.6"
		w.get(node, oci.KindManifest, i.manifest, oci.ResultMiss)
		w.get(other, oci.KindManifest, i.manifest, oci.ResultHit)
		one := w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[1].String())
		two := w.ask(other, http.MethodGet, oci.KindBlob, i.blobs[1].String())
		done := w.download(node, i.blobs[1], false)
		time.Sleep(time.Second)
		one.header(oci.ResultMiss, i.blobs[1])
		two.header(oci.ResultJoined, i.blobs[1])
		ahead := w.download(node, i.blobs[2], true)
		time.Sleep(time.Second)
		done()
		ahead()
		one.done(600) // the first part only
		two.done(1000)
		if result := w.get(other, oci.KindBlob, i.blobs[2], oci.ResultHit); result != oci.ResultHit {
			t.Errorf("for the other client it is a %s", result)
		}
		if result := w.get(node, oci.KindBlob, i.blobs[1], oci.ResultHit); result != oci.ResultJoined {
			t.Errorf("the second part is a %s", result)
		}
		w.get(node, oci.KindBlob, i.blobs[2], oci.ResultHit)
		w.get(other, oci.KindBlob, i.blobs[0], oci.ResultHit)
		w.get(node, oci.KindBlob, i.blobs[0], oci.ResultHit)
		if len(w.ended) != 2 {
			t.Fatalf("%d pulls ended", len(w.ended))
		}
		joined, led := w.ended[0], w.ended[1]
		if joined.Cache != "joined" || joined.UpstreamBytes != 0 || !near(joined.Seconds.FirstByte, 1) || !near(joined.Seconds.Transfer, 1) {
			t.Errorf("the one that joined is %+v", joined)
		}
		if led.UpstreamBytes != 2000+int64(len(w.manifests[i.manifest].Bytes)) || led.PrefetchedBytes != 1000 {
			t.Errorf("the one that led is %+v", led)
		}
	})
}

// Several platforms are several pulls, by the name that all of them were found by.
func TestSeveralPlatforms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one := w.image("nginx", 1)
		two := w.platform(&one, "nginx on arm", 1)
		w.head(node, "1.27", one.index)
		w.get(node, oci.KindManifest, one.index, oci.ResultHit)
		for range 2 {
			for _, i := range []image{one, two} {
				w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
				for _, d := range i.blobs {
					w.get(node, oci.KindBlob, d, oci.ResultHit)
				}
			}
			time.Sleep(indexTime)
		}
		var pulled []string
		for _, p := range w.ended {
			pulled = append(pulled, strings.TrimPrefix(p.Image, hub+"/"+repo)+" "+p.Platform)
		}
		want := []string{":1.27 linux/amd64", ":1.27 linux/arm64/v8", "@" + one.manifest.String() + " ", "@" + two.manifest.String() + " "}
		if !slices.Equal(pulled, want) {
			t.Errorf("pulled %q, want %q", pulled, want)
		}
	})
}

// While a layer comes, what has come of it counts.
func TestLiveBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 1)
		w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
		w.get(node, oci.KindBlob, i.blobs[0], oci.ResultHit)
		layer := w.ask(node, http.MethodGet, oci.KindBlob, i.blobs[1].String())
		done := w.download(node, i.blobs[1], false)
		layer.header(oci.ResultMiss, i.blobs[1])
		w.running = []mirror.FillEvent{{Upstream: hub, Repository: repo, Digest: i.blobs[1], Bytes: 400}}
		seen := w.Pulls(operate.PullsRequest{})
		if want := int64(len(w.manifests[i.manifest].Bytes)) + 1400; len(seen.Running) != 1 || seen.Running[0].Bytes != want {
			t.Errorf("%+v, want %d bytes", seen.Running, want)
		}
		layer.done(1000)
		if len(w.ended) > 0 {
			t.Error("it ended before its download")
		}
		if done(); len(w.ended) != 1 {
			t.Error("it did not end with its download")
		}
	})
}

// Whatever clients ask for, what is remembered of it is bounded, and so are the lines.
func TestMadeUpNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		i := w.image("nginx", 2)
		w.get(node, oci.KindManifest, i.manifest, oci.ResultHit)
		for _, d := range i.blobs {
			w.get(node, oci.KindBlob, d, oci.ResultHit)
		}
		for n := range 10_000 {
			client := fmt.Sprintf("@10.1.%d.%d", n>>8, n&255)
			w.ask(client, http.MethodGet, oci.KindManifest, fmt.Sprint("made-up-", n)).fail(404, oci.NewError(oci.CodeManifestUnknown, "no"))
			w.head(client, fmt.Sprint("tag-", n), i.index)
			w.ask(client, http.MethodGet, oci.KindBlob, digest.FromString(client).String()).fail(404, oci.NewError(oci.CodeBlobUnknown, "no"))
		}
		pulls, clients, images, recent := w.sizes()
		if pulls > maxRunning || clients > maxRows || images > maxRows || recent > maxRecent+maxFailed {
			t.Errorf("%d pulls, %d clients, %d images, %d recent pulls", pulls, clients, images, recent)
		}
		if n := strings.Count(w.lines.String(), "\n"); n != 1+maxRefused {
			t.Errorf("%d lines", n)
		}
		if seen := w.Pulls(operate.PullsRequest{Image: i.manifest.String()}); len(seen.Recent) != 1 {
			t.Errorf("the pull that went well is forgotten: %+v", seen.Recent)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if pulls, _, _, _ := w.sizes(); pulls != 0 {
			t.Errorf("%d pulls are left", pulls)
		}
	})
}
