package upstream

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registry"
	"github.com/pullgate/pullgate/internal/testenv"
	"github.com/pullgate/pullgate/storage"
)

// world is what a registry has when it tells the truth: content by digest, in the
// order in which an image is pulled, and one tag for each manifest.
type world struct {
	digests []digest.Digest
	types   map[digest.Digest]string // of manifests
	bytes   map[digest.Digest]string
	tags    map[string]digest.Digest
}

func newWorld() *world {
	w := &world{types: map[digest.Digest]string{}, bytes: map[digest.Digest]string{}, tags: map[string]digest.Digest{}}
	const manifest, index = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
	descriptor := func(mediaType string, d digest.Digest) string {
		return fmt.Sprintf(`{"mediaType":"%s","digest":"%s","size":%d}`, mediaType, d, len(w.bytes[d]))
	}
	for k := range 16 {
		sizes := []int{4, 1000, 70_000}
		if k%8 == 0 {
			sizes = append(sizes, 1<<20+1, 1_500_000) // what goes out before it is verified
		}
		var layers []string
		for i, size := range sizes {
			d := w.add("", strings.Repeat(fmt.Sprintf("%c%d ", 'a'+k, i), size)[:size])
			layers = append(layers, descriptor("application/vnd.oci.image.layer.v1.tar+gzip", d))
		}
		config := w.add("", fmt.Sprintf(`{"architecture":"amd64","os":"linux","author":"%d"}`, k))
		m := w.add(manifest, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","config":%s,"layers":[%s]}`,
			manifest, descriptor("application/vnd.oci.image.config.v1+json", config), strings.Join(layers, ",")))
		i := w.add(index, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"%s","manifests":[%s]}`, index, descriptor(manifest, m)))
		w.tags[fmt.Sprintf("1.%d", k)], w.tags[fmt.Sprintf("2.%d", k)] = i, m
	}
	return w
}

func (w *world) add(mediaType, content string) digest.Digest {
	d := oci.Sum([]byte(content))
	w.digests = append(w.digests, d)
	w.bytes[d] = content
	if mediaType != "" {
		w.types[d] = mediaType
	}
	return d
}

// body returns what is asked for.
func (w *world) body(path string) (body, mediaType string, ok bool) {
	ref := path[strings.LastIndexByte(path, '/')+1:]
	d := digest.Digest(ref)
	if tagged, ok := w.tags[ref]; ok {
		d = tagged
	}
	if mediaType = w.types[d]; mediaType == "" {
		mediaType = "application/octet-stream"
	}
	body, ok = w.bytes[d]
	return body, mediaType, ok
}

// gateway is a whole gateway without Caddy, in front of a registry that answers
// nonsense more often than not.
type gateway struct {
	*nonsense

	world   *world
	clock   *clock
	log     bytes.Buffer // of the store
	store   *storage.Store
	cache   *mirror.Cache
	handler http.Handler

	seen   sync.Mutex // of what follows
	counts map[int]int
	panics atomic.Int64
	hits   int
}

func newGateway(t *testing.T, f foul, w *world, dir string) *gateway {
	t.Helper()
	g := &gateway{nonsense: &nonsense{t: t, f: f}, world: w, clock: newClock(), counts: map[int]int{}}
	client := g.client(func(o *Options) { o.Now = g.clock.Now })
	t.Cleanup(client.Close)
	var err error
	panicked := func() { g.panics.Add(1) }
	if g.store, err = storage.Open(context.Background(), storage.Options{
		Path: dir, Panicked: panicked, Now: g.clock.Now, Logger: slog.New(slog.NewTextHandler(&g.log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}); err != nil {
		t.Fatal(err)
	}
	g.cache = mirror.NewCache(mirror.CacheOptions{Records: g.store, Blobs: mirror.BlobsOf(g.store), Panicked: panicked, Now: g.clock.Now})
	m, err := mirror.New(g.cache, mirror.Options{Upstreams: []mirror.Upstream{{
		Name: "hub.test", Remote: client, Freshness: mirror.Freshness{TagTTL: time.Minute}, Access: mirror.Access{Public: true},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	g.handler = registry.New(registry.Options{
		Mirror: m, Router: registry.NewRouter(map[string]registry.Upstream{"hub.test": {Name: "hub.test"}}, "hub.test"),
		Logger: slog.New(slog.DiscardHandler),
		OnDone: func(_ *http.Request, a *registry.Answer) {
			if a.Panicked {
				panicked()
			}
		},
	})
	return g
}

var ownLink = regexp.MustCompile(`^</v2/proxy-hub\.test/library/alpine/tags/list\?[A-Za-z0-9%&=+._~-]+>; rel="next"$`)

// request is one of what clients ask for, the digest whose bytes may come, if that
// is one, and how long all of it is.
func (g *gateway) request() (r *http.Request, d digest.Digest) {
	method := http.MethodGet
	var path string
	if g.f.often(2) {
		method = http.MethodHead
	}
	d = g.world.digests[g.f.IntN(len(g.world.digests))]
	switch n := g.f.IntN(20); {
	case n < 5:
		d, path = "", fmt.Sprintf("/manifests/%d.%d", 1+g.f.IntN(2), g.f.IntN(17))
	case n == 5:
		d, path = "", "/tags/list"
	case n == 6:
		d, path = "", "/referrers/"+d.String()
	case g.world.types[d] != "" && !g.f.often(1):
		path = "/manifests/" + d.String()
	default:
		path = "/blobs/" + d.String()
	}
	r = httptest.NewRequest(method, "/v2/proxy-hub.test/"+repo+path, nil)
	if strings.HasPrefix(path, "/blobs") && g.f.often(3) {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", g.f.IntN(len(g.world.bytes[d])+2)))
	}
	return r, d
}

// ask sends a request, and checks that the answer is right, or none.
func (g *gateway) ask(r *http.Request, d digest.Digest) {
	w := httptest.NewRecorder()
	cut := func() (cut bool) {
		defer func() {
			if p := recover(); p != nil {
				if cut = p == http.ErrAbortHandler; !cut { //nolint:errorlint // net/http knows that very value
					g.t.Errorf("%s %s: panic: %v", r.Method, r.URL, p)
				}
			}
		}()
		g.handler.ServeHTTP(w, r)
		return false
	}()
	g.seen.Lock()
	defer g.seen.Unlock()
	g.counts[w.Code]++
	status := w.Header().Get("Cache-Status")
	if strings.HasPrefix(status, "pullgate; hit") && w.Code < 300 {
		g.hits++
	}
	if cut {
		return
	}
	if err := g.right(r, d, w); err != nil {
		g.t.Errorf("%s %s %s: %d, %s: %v", r.Method, r.URL, r.Header.Get("Range"), w.Code, status, err)
	}
}

// right checks an answer that ended well.
func (g *gateway) right(r *http.Request, d digest.Digest, w *httptest.ResponseRecorder) error {
	body, want := w.Body.String(), g.world.bytes[d]
	for name, values := range w.Header() {
		if name == "Link" {
			// Where the upstream's next page begins is for it to say, but not where it lies.
			if !ownLink.MatchString(values[0]) || len(values[0]) > 10<<10 {
				return fmt.Errorf("link %.200q", values[0])
			}
			continue
		}
		if strings.Contains(strings.ToLower(strings.Join(values, "")), canary) || name == "Location" || name == "Set-Cookie" {
			return fmt.Errorf("header %s: %.100q", name, values)
		}
	}
	head := r.Method == http.MethodHead
	switch w.Code {
	case http.StatusOK, http.StatusPartialContent:
		if d == "" {
			if !head && strings.Contains(r.URL.Path, "/manifests/") && oci.Sum([]byte(body)).String() != w.Header().Get("Docker-Content-Digest") {
				return fmt.Errorf("the body is not %s", w.Header().Get("Docker-Content-Digest"))
			}
			return nil
		}
		if from, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")); err == nil && w.Code == http.StatusPartialContent {
			want = want[from:]
		}
		if head {
			// A size that was not proven yet is that of the upstream's HEAD.
			if w.Header().Get("Docker-Content-Digest") != d.String() {
				return fmt.Errorf("digest %s", w.Header().Get("Docker-Content-Digest"))
			}
		} else if body != want || w.Header().Get("Content-Length") != strconv.Itoa(len(want)) {
			return fmt.Errorf("%d bytes of length %s, want %d", len(body), w.Header().Get("Content-Length"), len(want))
		}
		return nil
	case http.StatusForbidden, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
	default:
		return fmt.Errorf("the status is none for what an upstream does: %.200s", body)
	}
	var document struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(body), &document); !head && (err != nil || len(document.Errors) != 1 || document.Errors[0].Message == "") {
		return fmt.Errorf("no error document: %.200q", body)
	}
	if strings.Contains(strings.ToLower(body), canary) {
		return fmt.Errorf("it quotes the upstream: %.200q", body)
	}
	return nil
}

// run asks for n things, some of them at once.
func (g *gateway) run(n int) {
	for n > 0 {
		var together sync.WaitGroup
		for range 1 + g.f.IntN(3) {
			r, d := g.request()
			for range 1 + g.f.IntN(2) {
				together.Go(func() { g.ask(r.Clone(context.Background()), d) })
				n--
			}
		}
		together.Wait()
		g.clock.add(time.Duration(g.f.IntN(150)) * time.Second) // what failed may be asked for again
	}
}

// end asks for everything once more, with the upstream gone, looks at all that
// was stored, and returns how much that is.
func (g *gateway) end() (stored int) {
	t := g.t
	g.mu.Lock()
	g.dead = true
	g.mu.Unlock()
	for _, d := range g.world.digests {
		kind := map[bool]string{true: "/blobs/", false: "/manifests/"}[g.world.types[d] == ""]
		g.ask(httptest.NewRequest(http.MethodGet, "/v2/proxy-hub.test/"+repo+kind+d.String(), nil), d)
	}
	report, err := g.store.Check(context.Background(), storage.CheckOptions{Verify: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Errorf("found in the store: %+v; its log: %s", f, &g.log)
	}
	g.cache.Close()
	stored = int(g.store.Usage().Blobs)
	for _, d := range g.world.digests {
		if m, err := g.store.Manifest(t.Context(), d); err == nil {
			stored++
			if string(m.Bytes) != g.world.bytes[d] || m.MediaType != g.world.types[d] {
				t.Errorf("manifest %s is stored as %s: %.200s", d, m.MediaType, m.Bytes)
			}
		}
	}
	if err := g.store.Close(); err != nil {
		t.Error(err)
	}
	if n := g.panics.Load(); n > 0 {
		t.Errorf("%d panics", n)
	}
	return stored
}

// TestGeneratedAnswersThroughGateway pulls an image from an upstream that tells the
// truth now and then: whatever else comes, the gateway panics nowhere, blames nobody
// but the upstream, and stores and serves nothing but what was asked for.
func TestGeneratedAnswersThroughGateway(t *testing.T) {
	const batch = 500
	n, seed := testenv.Rounds(200, 100_000), testenv.Seed(t)
	defer log.SetOutput(log.Writer())
	log.SetOutput(io.Discard)
	_, _ = net.DefaultResolver.LookupHost(t.Context(), "localhost")
	w := newWorld()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	answers, stored, hits, peak, counts := 0, 0, 0, uint64(0), map[int]int{}
	for i := 0; answers < n && !t.Failed(); i++ {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			f := foul{rand.New(rand.NewPCG(seed, uint64(i))), w}
			g := newGateway(t, f, w, dir)
			g.run(batch)
			stored += g.end()
			g.servers.Wait()
			answers += g.requests
			hits += g.hits
			for status, n := range g.counts {
				counts[status] += n
			}
		})
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		runtime.GC() // what counts is what is held
		runtime.ReadMemStats(&after)
		peak = max(peak, after.HeapAlloc)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) >> 20
	t.Logf("%d answers, statuses %v, %d hits, %d stored and right; heap %d MiB at most after a batch, %d MiB more than before",
		answers, counts, hits, stored, peak>>20, grown)
	if peak > 256<<20 || grown > 16 {
		t.Error("memory is not bounded")
	}
	if stored == 0 || hits < answers/100 {
		t.Error("next to nothing is cached: the test proves too little")
	}
}
