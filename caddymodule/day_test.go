package caddymodule

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// day is a gateway whose every event has to show: in the metrics, in the log, and in the
// state of its upstream.
type day struct {
	*site

	name     string // of the upstream
	upstream *registrytest.Server
	image    registrytest.Image
	logFile  string

	lookAhead string

	before samples
	read   int // of the log
}

func newDay(t *testing.T) *day {
	d := &day{
		site: newSite(t), name: ownName(), logFile: filepath.Join(t.TempDir(), "log"),
		upstream:  registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "hub", Password: "right"}),
		lookAhead: "off",
	}
	d.image = d.upstream.PutImage("library/alpine", "3", 7, 100_000)
	d.log = fmt.Sprintf("output file %s\nformat json\nlevel INFO", d.logFile)
	d.reload("right")
	return d
}

// reload makes the gateway use a password.
func (d *day) reload(password string) {
	d.t.Helper()
	d.t.(*testing.T).Setenv("DAY_PASSWORD", password)
	d.load(fmt.Sprintf(`registry_mirror {
		upstream %s {
			url %s
			credentials hub {env.DAY_PASSWORD}
			auth_origin %s
			access public
			tag_ttl 0
			look_ahead %s
			max_fails 2
			fail_duration 20ms
		}
	}`, d.name, d.upstream.URL(), strings.TrimSuffix(d.upstream.TokenURL(), "/token"), d.lookAhead))
}

// want ends a part of the day: so the counts have grown, these warnings stand in the
// log, once if they tell of the upstream, and so the upstream fares.
func (d *day) want(part string, state string, grown samples, warnings ...string) {
	d.t.Helper()
	filled(d.t)
	counts := samples{}
	for name, n := range d.scrape().since(d.before) {
		for _, prefix := range []string{"requests_total{", "stale_served_total", "fills_total"} {
			if strings.HasPrefix(name, prefix) {
				counts[name] = n
			}
		}
	}
	if !maps.Equal(counts, grown) {
		d.t.Errorf("%s: counted %v, want %v", part, counts, grown)
	}
	raw, err := os.ReadFile(d.logFile)
	if err != nil {
		d.t.Fatal(err)
	}
	news := string(raw[d.read:])
	for line := range strings.Lines(news) {
		expected := strings.Contains(line, `"level":"info"`) || !strings.Contains(line, "registry_mirror")
		for _, warning := range warnings {
			expected = expected || strings.Contains(line, warning)
		}
		if !expected {
			d.t.Errorf("%s: logged %s", part, line)
		}
	}
	for _, warning := range warnings {
		most := 1
		if strings.Contains(warning, "serving stale") { // which tells of an image
			most = requestLines.Burst
		}
		if n := strings.Count(news, warning); n < 1 || n > most {
			d.t.Errorf("%s: %d lines with %s in\n%s", part, n, warning, news)
		}
	}
	status, err := gateway().Status(d.t.Context(), "")
	if err != nil {
		d.t.Fatal(err)
	}
	u := status.Upstreams[0]
	if len(status.Upstreams) != 1 || u.State != state || (u.State == operate.StateOK) != (u.Error == "") || (u.Error == "") != (u.Help == "") {
		d.t.Errorf("%s: the upstream is %+v, want %s", part, u, state)
	}
	d.wantProblems(part, status)
	gauge := fmt.Sprintf(`upstream_state{state=%q,upstream="docker.io",url=%q}`, state, d.upstream.URL())
	if values := d.scrape(); values[gauge] != 1 {
		d.t.Errorf("%s: %s is %v", part, gauge, values[gauge])
	}
	d.forget()
}

// wantProblems compares the problems of the upstream with how it fares: one with the cause
// and the cure, as the command status and the dashboard show it.
func (d *day) wantProblems(part string, status operate.Status) {
	d.t.Helper()
	u := status.Upstreams[0]
	var want, got []string
	switch l := u.RateLimit; {
	case u.State != operate.StateOK:
		want = []string{u.Error + ": " + u.Help}
	case l != nil && l.Remaining == 7:
		want = []string{"7 of 100 pulls are left by its rate limit: give the upstream credentials of an account with a higher limit, or a longer tag_ttl, which asks less often"}
	}
	if part == "full disk" {
		want = []string{"blobs are not stored, and pass through with each pull: blob of 98 KiB is larger than max_size of storage, 1.0 KiB: did you mean 1024GiB?: raise max_size, or pin less: pullgate mirror pins"}
	}
	for _, p := range operate.Problems(status) {
		if p.What == operate.ProblemUpstream || strings.HasPrefix(p.Cause, "blobs are not stored") {
			got = append(got, p.Cause+": "+p.Cure)
		}
	}
	if !slices.Equal(got, want) || operate.Well(status) != (u.State == operate.StateOK) {
		d.t.Errorf("%s: problems are %q, want %q; all is well: %v", part, got, want, operate.Well(status))
	}
}

// wantPull ends the pull of an image of the upstream: so many bytes came from there, and a line tells.
func (d *day) wantPull(image, cache string, cached, prefetched int64) {
	d.t.Helper()
	image = d.name + image
	line := regexp.MustCompile(`"msg":"image pulled","image":"` + image + `".*"cache":"` + cache + `"`)
	var raw []byte
	eventually(d.t, "a line tells of the pull", func() (found bool) {
		var err error
		raw, err = os.ReadFile(d.logFile)
		return err == nil && line.Match(raw[d.read:])
	})
	if n := len(line.FindAll(raw[d.read:], -1)); n != 1 {
		d.t.Errorf("%d lines tell of the pull: %s", n, raw[d.read:])
	}
	if n := d.scrape().since(d.before)[`pulls_total{result="ok",upstream="docker.io"}`]; n != 1 {
		d.t.Errorf("%s: %v pulls have ended", cache, n)
	}
	p := tracked.Pulls(operate.PullsRequest{Image: image}).Recent[0]
	if p.Cache != cache || p.CacheBytes != cached || p.PrefetchedBytes != prefetched || p.Platform != "linux/amd64" || p.Client != "127.0.0.1" {
		d.t.Errorf("the pull was %+v, want %s", p, cache)
	}
}

// forget leaves what was counted and logged so far unjudged.
func (d *day) forget() {
	d.t.Helper()
	raw, err := os.ReadFile(d.logFile)
	if err != nil {
		d.t.Fatal(err)
	}
	d.before, d.read = d.scrape(), len(raw)
}

// get returns once the request is counted. It reports whether the answer is a stale one.
func (d *day) get(path string, status int) (stale bool) {
	d.t.Helper()
	client := d.client()
	response, body := client.get("/v2/proxy-" + d.name + path)
	if response.StatusCode != status {
		d.t.Errorf("GET %s: %s: %s", path, response.Status, body)
	}
	client.settle()
	return strings.Contains(response.Header.Get("Cache-Status"), "detail=stale")
}

// scrape returns the metrics with those of the upstream as of docker.io.
func (d *day) scrape() samples { return d.site.scrape().of(d.name) }

func requests(kind, result string) string {
	return fmt.Sprintf(`requests_total{kind=%q,result=%q,upstream="docker.io"}`, kind, result)
}

// A day with everything that can happen to an upstream.
func TestDay(t *testing.T) {
	d := newDay(t)
	tag := "/library/alpine/manifests/3"
	raw, err := os.ReadFile(d.logFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"msg":"serving"`, `"upstreams":["` + d.name + `"]`, `"storage":"` + d.storage, d.addr[strings.LastIndex(d.addr, ":"):], "client-config"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the start is logged without %s: %s", want, raw)
		}
	}
	d.forget()

	d.client().pull("/v2/proxy-"+d.name, d.image)
	d.wantPull("/library/alpine:3", "miss", 0, 0)
	d.want("cold", "ok", samples{
		requests("manifest", "miss"): 2, requests("blob", "miss"): 2, `fills_total{class="ok",upstream="docker.io"}`: 2,
	})

	d.client().pull("/v2/proxy-"+d.name, d.image)
	platform := d.image.Platforms[0]
	d.wantPull("/library/alpine:3", "hit", platform.Manifest.Size+platform.Config.Size+100_000, 0)
	d.want("warm", "ok", samples{ // the tag is asked for each time
		requests("manifest", "miss"): 1, requests("manifest", "hit"): 1, requests("blob", "hit"): 2,
	})

	d.lookAhead = "6"
	d.reload("right")
	d.forget()
	other := d.upstream.PutImage("library/nginx", "1", 8, 100_000, 100_000, 100_000)
	platform = other.Platforms[0]
	asked := d.upstream.Count(http.MethodGet, "blobs")
	d.get("/library/nginx/manifests/1", http.StatusOK)
	d.get("/library/nginx/manifests/"+platform.Manifest.Digest.String(), http.StatusOK)
	d.get("/library/nginx/blobs/"+platform.Layers[0].Digest.String(), http.StatusOK)
	eventually(t, "the rest is pulled ahead", func() bool { return d.upstream.Count(http.MethodGet, "blobs") == asked+4 })
	filled(t)
	for _, of := range append(platform.Layers[1:], platform.Config) {
		d.get("/library/nginx/blobs/"+of.Digest.String(), http.StatusOK)
	}
	d.wantPull("/library/nginx:1", "miss", 0, platform.Config.Size+200_000)
	d.want("prefetched", "ok", samples{
		requests("manifest", "miss"): 2, requests("blob", "miss"): 1, requests("blob", "prefetched"): 3, `fills_total{class="ok",upstream="docker.io"}`: 4,
	})
	d.lookAhead = "off"
	d.reload("right")
	d.forget()

	blob := d.upstream.PutBlob("library/alpine", registrytest.Random(1, 1<<20))
	arrived, release := make(chan struct{}), make(chan struct{})
	d.upstream.On(registrytest.Rule{Method: http.MethodGet, Kind: "blobs", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		close(arrived)
		<-release
		next(w, r)
	}})
	var clients sync.WaitGroup
	ask := func() { d.get("/library/alpine/blobs/"+blob.String(), http.StatusOK) }
	clients.Go(ask)
	<-arrived
	clients.Go(ask)
	eventually(t, "the second client waits", func() bool { return storeStatuses()[0].Readers == 2 })
	close(release)
	clients.Wait()
	d.upstream.Off()
	d.want("joined", "ok", samples{
		requests("blob", "miss"): 1, requests("blob", "joined"): 1, `fills_total{class="ok",upstream="docker.io"}`: 1,
	})

	answer := func(status int, header ...string) registrytest.Hook {
		return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
			for i := 0; i < len(header); i += 2 {
				w.Header().Set(header[i], header[i+1])
			}
			w.WriteHeader(status)
		}
	}
	d.upstream.On(registrytest.Rule{Kind: "manifests", Hook: answer(http.StatusForbidden)})
	for range 3 {
		d.get("/private/image/manifests/1", http.StatusForbidden)
	}
	d.want("one private image", "ok", samples{requests("manifest", "denied"): 3}, `"class":"denied"`)
	d.get("/private/other/manifests/1", http.StatusForbidden)
	d.want("denied", "denied", samples{requests("manifest", "denied"): 1})
	d.upstream.Off()
	d.get(tag, http.StatusOK)
	d.want("not denied any more", "ok", samples{requests("manifest", "miss"): 1})

	d.upstream.On(registrytest.Rule{Kind: "manifests", Hook: answer(http.StatusTooManyRequests, "Retry-After", "1",
		"Ratelimit-Limit", "100;w=21600", "Ratelimit-Remaining", "7;w=21600")})
	d.get("/library/alpine/manifests/4", http.StatusTooManyRequests)
	d.get(tag, http.StatusOK)
	d.want("limited", "limited", samples{
		requests("manifest", "ratelimited"): 1, requests("manifest", "stale"): 1, `stale_served_total{reason="ratelimited",upstream="docker.io"}`: 1,
	}, `"msg":"upstream operation failed"`, `"msg":"serving stale"`)
	left := fmt.Sprintf(`upstream_ratelimit_remaining{upstream="docker.io",url=%q}`, d.upstream.URL())
	if n := d.scrape()[left]; n != 7 {
		t.Errorf("%s is %v", left, n)
	}
	d.upstream.Off()
	eventually(t, "the limit ends", func() bool {
		return !d.get(tag, http.StatusOK) && upstreamStatuses()[0].State == "ok"
	})
	d.forget()

	resume := d.upstream.Pause()
	for range 5 {
		d.get(tag, http.StatusOK)
	}
	d.want("down", "down", samples{
		requests("manifest", "stale"): 5, `stale_served_total{reason="connect",upstream="docker.io"}`: 5,
	}, `"msg":"upstream fails, breaker opened"`, `"msg":"upstream operation failed"`, `"msg":"serving stale"`)
	resume()
	eventually(t, "the upstream is asked again", func() bool {
		return !d.get(tag, http.StatusOK) && upstreamStatuses()[0].State == "ok"
	})
	d.forget()
	d.want("back", "ok", samples{})

	d.reload("wrong")
	d.get(tag, http.StatusOK)
	d.want("refused credentials", "credentials_refused", samples{
		requests("manifest", "stale"): 1, `stale_served_total{reason="denied",upstream="docker.io"}`: 1,
	}, `it refused the user and password`, `"msg":"serving stale"`)
	d.reload("right")
	d.get("/library/alpine/blobs/"+d.upstream.PutBlob("library/alpine", registrytest.Random(2, 100)).String(), http.StatusOK)
	d.want("right credentials", "ok", samples{requests("blob", "miss"): 1, `fills_total{class="ok",upstream="docker.io"}`: 1})
	d.get(tag, http.StatusOK)
	d.want("nothing is remembered of the wrong ones", "ok", samples{requests("manifest", "miss"): 1})

	d.fullDisk()
}

// fullDisk has a storage without room: pulls pass through, each anew, until there is room.
func (d *day) fullDisk() {
	d.t.Helper()
	folder := d.storage
	d.storage += " {\nmax_size 1KiB\n}"
	d.reload("right")
	d.storage = folder
	blob := "/library/alpine/blobs/" + d.upstream.PutBlob("library/alpine", registrytest.Random(3, 100_000)).String()
	for range 3 {
		d.get(blob, http.StatusOK)
		filled(d.t)
	}
	d.want("full disk", "ok", samples{requests("blob", "miss"): 3, `fills_total{class="ok",upstream="docker.io"}`: 3}, `"msg":"blob not stored"`)
	d.reload("right")
	for range 2 {
		d.get(blob, http.StatusOK)
	}
	// The second time it is what the same pull has brought.
	d.want("room again", "ok", samples{requests("blob", "miss"): 1, requests("blob", "joined"): 1, `fills_total{class="ok",upstream="docker.io"}`: 1})
}
