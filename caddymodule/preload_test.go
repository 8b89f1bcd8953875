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

	"github.com/pullgate/pullgate/caddymodule/admin"
	"github.com/pullgate/pullgate/internal/image"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// adminServer serves the admin API. done gets a value when a request that was not
// refused has ended.
func adminServer(t *testing.T) (base string, done chan struct{}) {
	t.Helper()
	done = make(chan struct{}, 100)
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	for _, route := range admin.New(gateway()).Routes() {
		mux.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Body != http.NoBody { // its time begins here, however long it took to get here
				if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(server.Config.ReadTimeout)); err != nil {
					t.Error(err)
				}
			}
			refused := false
			defer func() {
				if !refused {
					done <- struct{}{}
				}
			}()
			if answer, ok := errors.AsType[caddy.APIError](route.Handler.ServeHTTP(w, r)); ok {
				refused = true
				http.Error(w, answer.Err.Error(), answer.HTTPStatus)
			}
		})
	}
	// Caddy's read timeout is 10 s, and the idle one is longer.
	server.Config.ReadTimeout = 300 * time.Millisecond
	server.Config.ReadHeaderTimeout, server.Config.IdleTimeout = processTime, processTime
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, done
}

func imageServer(t *testing.T) string {
	t.Helper()
	base, _ := adminServer(t)
	return base
}

// askImages returns the lines of an answer but those of progress.
func askImages(t *testing.T, url, list string) (reports []image.Report, last operate.ImageLine) {
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
		last = operate.ImageLine{}
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
	reports, last := askImages(t, base+operate.PreloadPath, "alpine:3")
	<-reloaded
	if last.Totals == nil || last.Totals.Complete != 1 || len(reports) != 1 {
		t.Fatalf("%+v, %+v", reports, last)
	}
	eventually(t, "the old store is closed", func() bool {
		_, open := caches.References(path)
		return !open
	})
	if _, last := askImages(t, base+operate.VerifyPath, "alpine:3"); last.Totals == nil || last.Totals.Complete != 0 {
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
		generations.RLock()
		defer generations.RUnlock()
		for range 2 {
			generations.list[len(generations.list)-1].run.handlers[0].leaveAll() // as retire does
		}
	}()
	if _, last := askImages(t, imageServer(t)+operate.PreloadPath, "alpine:3"); !strings.Contains(last.Error, "the server exits") {
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
	reports, last := askImages(t, base+operate.PreloadPath+"?platform=linux/arm64", "alpine:3\ndocker.io/library/alpine@"+image.Index.Digest.String())
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
	if status, text := ask(operate.VerifyPath, "alpine"); status != http.StatusNotFound || !strings.Contains(text, "no store is open") {
		t.Errorf("without a store: %d, %s", status, text)
	}
	for _, c := range []struct {
		uri, body string
		status    int
		text      string
	}{
		{operate.VerifyPath, "", http.StatusBadRequest, "names no image"},
		{operate.VerifyPath, "a b", http.StatusBadRequest, "body, line 1: "},
		{operate.VerifyPath + "?plattform=linux/amd64", "alpine", http.StatusBadRequest, "plattform: not a parameter: want deep, path, platform, rate or referrers"},
		{operate.VerifyPath + "?platform=linux", "alpine", http.StatusBadRequest, "is no platform"},
		{operate.PreloadPath + "?parallel=99", "alpine", http.StatusBadRequest, "no number from 1 to 64"},
		{operate.PreloadPath + "?deep=1", "alpine", http.StatusBadRequest, "deep: not a parameter"},
		{operate.PreloadPath + "?path=/nowhere", "alpine", http.StatusNotFound, "no store is open at /nowhere"},
	} {
		if status, text := ask(c.uri, c.body); status != c.status || !strings.Contains(text, c.text) {
			t.Errorf("%s: %d, %s", c.uri, status, text)
		}
	}
	response, err := http.Get(base + operate.PreloadPath)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", response.StatusCode)
	}
}
