package caddymodule

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestReload reloads under load: no download that has begun breaks, a digest
// crosses the upstream link once, and what old configurations used is gone
// afterwards.
func TestReload(t *testing.T) {
	const blobs, size, reloads, pullers = 6, 8 << 20, 20, 4
	upstream := registrytest.New(t, registrytest.Options{})
	var paths []string
	for seed := range uint64(blobs) {
		d := upstream.PutBlob("library/alpine", registrytest.Random(seed, size))
		paths = append(paths, "/v2/proxy-docker.io/library/alpine/blobs/"+d.String())
	}
	// Each blob takes longer than several reloads.
	upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&slow{ResponseWriter: w, ctx: r.Context().Done(), pause: 200 * time.Microsecond}, r)
	})
	s := newSite(t)
	load := func(n int) {
		// Every other configuration has an upstream client of its own.
		s.load(fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\nallow_address 10.0.0.%d\n}\n}", upstream.URL(), n%2))
	}
	load(0)
	s.client().settle()
	goroutines, files := runtime.NumGoroutine(), openFiles(t)

	var (
		wg      sync.WaitGroup
		stopped atomic.Bool
		done    atomic.Int64
	)
	for n := range pullers {
		wg.Go(func() {
			for i := n; !stopped.Load() || i < n+blobs; i++ {
				c := s.client()
				path := paths[i%blobs]
				response, err := c.try(http.MethodGet, path)
				if err != nil {
					t.Errorf("GET %s: %v", path, err)
					return
				}
				h := sha256.New()
				if _, err := io.Copy(h, response.Body); err != nil || !strings.HasSuffix(path, fmt.Sprintf("%x", h.Sum(nil))) {
					t.Errorf("GET %s: %s, broken body: %v", path, response.Status, err)
				}
				_ = response.Body.Close()
				c.CloseIdleConnections()
				done.Add(1)
			}
		})
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := range reloads {
		<-tick.C
		load(n + 1)
	}
	stopped.Store(true)
	wg.Wait()
	filled(t)
	t.Logf("%d downloads during %d reloads", done.Load(), reloads)
	if n := upstream.Count(http.MethodGet, "blobs"); n != blobs {
		t.Errorf("the upstream saw %d downloads of %d blobs", n, blobs)
	}
	// Handlers of old configurations leave after their clients have everything.
	eventually(t, "App and Handler have the only references to the store", func() bool {
		n, ok := caches.References(canonical(t, s.storage))
		return ok && n == 2
	})
	eventually(t, "one upstream client is open", func() bool {
		count := 0
		clients.Range(func(_, _ any) bool { count++; return true })
		return count == 1
	})
	// What is left of old servers are goroutines that are about to end.
	eventually(t, "goroutines and files of old configurations go", func() bool {
		return runtime.NumGoroutine() <= goroutines+10 && openFiles(t) <= files+10
	})
}

// TestStop: nothing is left of the last configuration.
func TestStop(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 7, 2<<20)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	c.CloseIdleConnections()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "store and clients close", func() bool {
		open := 0
		caches.Range(func(_, _ any) bool { open++; return true })
		clients.Range(func(_, _ any) bool { open++; return true })
		return open == 0
	})
	// The same storage opens again, and still has everything.
	upstream.Reset()
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	c.pull("/v2/proxy-docker.io", image)
	if n := upstream.Count("", ""); n != 0 {
		t.Errorf("after a restart the upstream saw %d requests", n)
	}
}

// TestReloadAway: a configuration without the mirror, and without its store, does
// not cut the download that it finds.
func TestReloadAway(t *testing.T) {
	const size = 4 << 20
	upstream := registrytest.New(t, registrytest.Options{})
	content := registrytest.Random(12, size)
	path := "/v2/proxy-docker.io/library/alpine/blobs/" + upstream.PutBlob("library/alpine", content).String()
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	release, open := registrytest.Hold(t)
	upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&halting{ResponseWriter: w, left: size / 2, release: release}, r)
	})
	c := s.client()
	response := c.do(http.MethodGet, path)
	old := canonical(t, s.storage)
	s.storage = t.TempDir()
	s.load("respond nothing")
	open()
	if body := c.rest(response); !bytes.Equal(body, content) {
		t.Errorf("%d bytes, not the blob of %d", len(body), size)
	}
	eventually(t, "the old store closes", func() bool { _, open := caches.References(old); return !open })
}

// TestTokensSurvive: an upstream client stays when only the policy changes.
func TestTokensSurvive(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer})
	image := upstream.PutImage("library/alpine", "3", 13, 10)
	other := upstream.PutImage("library/alpine", "4", 14, 10)
	s := newSite(t)
	load := func(ttl string) {
		s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\ntag_ttl " + ttl + "\n}\n}")
	}
	load("1h")
	s.client().pull("/v2/proxy-docker.io", image)
	load("2h")
	s.client().pull("/v2/proxy-docker.io", other)
	if n := upstream.Count("", "token"); n != 1 {
		t.Errorf("%d tokens were asked for, want 1", n)
	}
}

// TestLateRequest: a request that an old server has begun to handle, but that
// reaches the mirror only after the old configuration was cleaned up and its
// store closed, is answered.
func TestLateRequest(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 8, 10)
	s := newSite(t)
	s.load("test_hold\nregistry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	s.client().pull("/v2/proxy-docker.io", image)

	type answer struct {
		status string
		body   []byte
	}
	answers := make(chan answer)
	late := s.client()
	go func() {
		response, err := late.try(http.MethodGet, "/v2/proxy-docker.io/library/alpine/manifests/"+image.Index.Digest.String()+"?hold")
		if err != nil {
			answers <- answer{status: err.Error()}
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answers <- answer{response.Status, body}
	}()
	release := <-held
	old := canonical(t, s.storage)
	s.storage = t.TempDir()
	s.load("respond nothing")
	closed := func() bool { _, open := caches.References(old); return !open }
	eventually(t, "the old store closes", closed)
	close(release)
	if a := <-answers; a.status != "200 OK" || string(a.body) != string(image.IndexBytes) {
		t.Errorf("late request: %s, %d bytes", a.status, len(a.body))
	}
	eventually(t, "the old store closes again", closed)
}

// held gets, for each request with the query hold, a channel that lets it go on.
var held = make(chan chan struct{})

// hold is a handler for tests that holds requests back before they reach ours.
type hold struct{}

func init() {
	caddy.RegisterModule(hold{})
	httpcaddyfile.RegisterHandlerDirective("test_hold", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		h.Next()
		return hold{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("test_hold", httpcaddyfile.Before, "header")
}

func (hold) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_hold", New: func() caddy.Module { return new(hold) }}
}

func (hold) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.URL.RawQuery == "hold" {
		release := make(chan struct{})
		held <- release
		<-release
	}
	return next.ServeHTTP(w, r)
}

// TestRollback: a configuration that does not start leaves the one before as it
// was, its limits too.
func TestRollback(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 9, 2<<20)
	s := newSite(t)
	mirror := "registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}"
	s.load(mirror)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := s.storage
	s.storage += " {\nmax_size 1\n}"
	// Apps start in any order: often enough ours has started when HTTP fails.
	for range 16 {
		if err := s.tryLoad(mirror + "\n}\nhttp://" + taken.Addr().String() + " {\n" + mirror); err == nil {
			t.Fatal("a configuration with an address in use starts")
		}
	}
	s.storage = path
	c := s.client()
	c.pull("/v2/proxy-docker.io", image)
	upstream.Reset()
	c.pull("/v2/proxy-docker.io", image)
	if n := upstream.Count("", ""); n != 0 {
		t.Errorf("the limits of a configuration that was rolled back hold: %d requests to the upstream", n)
	}
	if n, _ := caches.References(canonical(t, path)); n != 2 {
		t.Errorf("%d references to the store, want 2", n)
	}
}

// slow sends a little at a time.
type slow struct {
	http.ResponseWriter
	ctx   <-chan struct{}
	pause time.Duration
}

func (w *slow) Write(p []byte) (int, error) {
	select {
	case <-time.After(w.pause):
	case <-w.ctx:
	}
	return w.ResponseWriter.Write(p)
}

func (w *slow) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func canonical(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
