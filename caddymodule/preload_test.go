package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// imageServer serves the two operations on images of the admin API.
func imageServer(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, handler := range map[string]caddy.AdminHandlerFunc{verifyPath: AdminAPI{}.verify, preloadPath: AdminAPI{}.preload} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if answer, ok := errors.AsType[caddy.APIError](handler(w, r)); ok {
				http.Error(w, answer.Err.Error(), answer.HTTPStatus)
			}
		})
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// askImages returns the lines of an answer but those of progress.
func askImages(t *testing.T, url, list string) (reports []image.Report, last imageLine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for decoder := json.NewDecoder(response.Body); last.Totals == nil && last.Error == ""; {
		last = imageLine{}
		if err := decoder.Decode(&last); err != nil {
			t.Fatalf("status %d: %v", response.StatusCode, err)
		}
		if last.Report != nil {
			reports = append(reports, *last.Report)
		}
	}
	return reports, last
}

// gate keeps the downloads of blobs waiting. asked is closed when the first waits.
func gate(upstream *registrytest.Server) (asked chan struct{}, open func()) {
	asked, opened := make(chan struct{}), make(chan struct{})
	first := make(chan struct{}, 1)
	first <- struct{}{}
	upstream.On(registrytest.Rule{Method: http.MethodGet, Kind: "blobs", Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		select {
		case <-first:
			close(asked)
		default:
		}
		select {
		case <-opened:
			next(w, r)
		case <-r.Context().Done():
		}
	}})
	return asked, func() { close(opened) }
}

// A reload that takes away both upstream and storage does not cut a preload, which
// keeps what it works on for as long as it takes.
func TestReloadDoesNotCutPreload(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	upstream.PutImage("library/alpine", "3", 7, 3<<20)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	path := canonical(t, s.storage)
	base := imageServer(t)
	asked, open := gate(upstream)
	reloaded := make(chan struct{})
	go func() {
		defer close(reloaded)
		<-asked
		s.storage = t.TempDir()
		s.load("registry_mirror quay.io")
		open()
	}()
	reports, last := askImages(t, base+preloadPath, "alpine:3")
	<-reloaded
	if last.Totals == nil || last.Totals.Complete != 1 || len(reports) != 1 {
		t.Fatalf("%+v, %+v", reports, last)
	}
	eventually(t, "the old store is closed", func() bool {
		_, open := caches.References(path)
		return !open
	})
	if _, last := askImages(t, base+verifyPath, "alpine:3"); last.Totals == nil || last.Totals.Complete != 0 {
		t.Errorf("in the new store: %+v", last)
	}
}

// The process does not wait for a preload to end by itself.
func TestPreloadEndsWithTheProcess(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	upstream.PutImage("library/alpine", "3", 7, 3<<20)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	asked, open := gate(upstream)
	defer open()
	go func() {
		<-asked
		_, live, err := liveSites("")
		if err != nil {
			t.Error(err)
			return
		}
		for range 2 {
			live[0].service.leaveAll() // as retire does
		}
	}()
	if _, last := askImages(t, imageServer(t)+preloadPath, "alpine:3"); !strings.Contains(last.Error, "the server exits") {
		t.Errorf("last line is %+v", last)
	}
}

// Two sites that see different content under one name get the image each.
func TestPreloadForEachIdentity(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 7, 1000)
	s := newSite(t)
	s.load("@a path /v2/a/*\nroute {\nregistry_mirror @a {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}\n" +
		"registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "/\naccess somebody\n}\n}\n}")
	base := imageServer(t)
	reports, last := askImages(t, base+preloadPath+"?platform=linux/arm64", "alpine:3\ndocker.io/library/alpine@"+image.Index.Digest.String())
	if len(reports) != 4 || last.Totals.Complete != 4 || reports[0].Upstream == reports[1].Upstream {
		t.Fatalf("%+v, %+v", reports, last)
	}
	// At a private address, the one proves nothing to the other.
	if n := upstream.Count(http.MethodGet, "blobs"); n != 4 {
		t.Errorf("the upstream saw %d downloads of 2 blobs for 2 identities", n)
	}
}

func TestImageOperationIsRefused(t *testing.T) {
	base := imageServer(t)
	ask := func(uri, body string) (int, string) {
		t.Helper()
		response, err := http.Post(base+uri, "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var text bytes.Buffer
		if _, err := text.ReadFrom(response.Body); err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, text.String()
	}
	if status, text := ask(verifyPath, "alpine"); status != http.StatusNotFound || !strings.Contains(text, "no store is open") {
		t.Errorf("without a store: %d, %s", status, text)
	}
	for _, c := range []struct {
		uri, body string
		status    int
		text      string
	}{
		{verifyPath, "", http.StatusBadRequest, "names no image"},
		{verifyPath, "a b", http.StatusBadRequest, "body, line 1: "},
		{verifyPath + "?plattform=linux/amd64", "alpine", http.StatusBadRequest, "plattform: not a parameter: want deep, path, platform, rate or referrers"},
		{verifyPath + "?platform=linux", "alpine", http.StatusBadRequest, "is no platform"},
		{preloadPath + "?parallel=99", "alpine", http.StatusBadRequest, "no number from 1 to 64"},
		{preloadPath + "?deep=1", "alpine", http.StatusBadRequest, "deep: not a parameter"},
		{preloadPath + "?path=/nowhere", "alpine", http.StatusNotFound, "no store is open at /nowhere"},
	} {
		if status, text := ask(c.uri, c.body); status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d, %s", c.uri, status, text)
		}
	}
	response, err := http.Get(base + preloadPath)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", response.StatusCode)
	}
}

func TestPreloadOutput(t *testing.T) {
	a := imagelist.Image{Upstream: "docker.io", Repository: "library/alpine", Tag: "3"}
	long := imagelist.Image{Upstream: "factory.talos.dev", Repository: "metal-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba", Tag: "v1"}
	var b bytes.Buffer
	now := time.Unix(1_000, 0)
	o := &preloadOutput{to: &b, terminal: true, now: func() time.Time { return now }, began: now}
	now = now.Add(2 * time.Second)
	o.progress(image.PreloadProgress{Images: 1, Failed: 1, Total: 4, Bytes: 3 << 20, Running: []image.Running{
		{Image: a, Bytes: 3 << 20, Size: 6 << 20}, {Image: long},
	}})
	o.pulled(image.Pulled{Image: a, Size: 6 << 20, Bytes: 6 << 20, Duration: 1234 * time.Millisecond})
	o.pulled(image.Pulled{Image: a, Size: 6 << 20, Stale: "timeout"})
	o.pulled(image.Pulled{Image: a, Error: "\x1b[31mno"})
	want := "\x1b[?7l" +
		"[========        ] docker.io/library/alpine:3           3.0 MiB of 6.0 MiB\n" +
		"[                ] ..." + long.String()[len(long.String())-33:] + " reading manifests\n" +
		"[====            ] total: 1 of 4 images, 1 failed, 3.0 MiB, 1.5 MiB/s\n\x1b[?7h" +
		"\x1b[3A\r\x1b[J" +
		"docker.io/library/alpine:3: pulled, 6.0 MiB of 6.0 MiB in 1.2s\n" +
		"docker.io/library/alpine:3: is cached (its tag as it was known: timeout), 6.0 MiB\n" +
		`"docker.io/library/alpine:3: failed: \x1b[31mno"` + "\n"
	if got := b.String(); got != want {
		t.Errorf("output is\n%q, want\n%q", got, want)
	}
	if n := len(fixed(long.String())); n != preloadName {
		t.Errorf("name has %d characters", n)
	}
}
