package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// openTestCache opens a store with one blob of n bytes, as an App does.
func openTestCache(t *testing.T, n int) *cache {
	t.Helper()
	c, err := acquireCache(t.TempDir(), storage.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := releaseCache(c); err != nil {
			t.Error(err)
		}
	})
	b := registrytest.Random(uint64(n), n)
	p, err := c.store.Part(t.Context(), oci.Scope{Upstream: "docker.io", Repository: "library/alpine"}, oci.Sum(b), int64(n))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if _, err := p.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(int64(n)); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkServer serves the admin API. done gets a value when a check has ended.
func checkServer(t *testing.T) (base string, done chan struct{}) {
	t.Helper()
	done = make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := AdminAPI{}.check(w, r)
		if answer, ok := errors.AsType[caddy.APIError](err); ok {
			http.Error(w, answer.Err.Error(), answer.HTTPStatus)
			return
		}
		done <- struct{}{}
	}))
	// Caddy's is 10 s.
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	return server.URL + checkPath, done
}

// post starts a check.
func post(ctx context.Context, t *testing.T, method, uri string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, uri, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestCheckOfAllStores(t *testing.T) {
	a, b := openTestCache(t, 1000), openTestCache(t, 2000)
	base, _ := checkServer(t)
	response := post(t.Context(), t, http.MethodPost, base+"?verify=1")
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || got != "application/x-ndjson" {
		t.Errorf("status %d, type %s", response.StatusCode, got)
	}
	decoder := json.NewDecoder(response.Body)
	var first checkLine
	if err := decoder.Decode(&first); err != nil || len(first.Paths) != 2 {
		t.Fatalf("first line is %+v, %v", first, err)
	}
	sizes := map[string]int64{a.path: 1000, b.path: 2000}
	for _, path := range first.Paths {
		for last := false; !last; {
			var line checkLine
			if err := decoder.Decode(&line); err != nil || line.Path != path || line.Error != "" {
				t.Fatalf("line is %+v, %v", line, err)
			}
			if last = line.Report != nil; last && (line.Report.Bytes != sizes[path] || line.Report.Verified != 1) {
				t.Errorf("report is %+v", line.Report)
			}
		}
	}
	if decoder.More() {
		t.Error("there is more")
	}
}

func TestCheckIsRefused(t *testing.T) {
	openTestCache(t, 1000)
	base, _ := checkServer(t)
	for query, want := range map[string]struct {
		status int
		text   string
	}{
		"?path=/nowhere": {http.StatusNotFound, "no store is open at /nowhere"},
		"?verify=yes":    {http.StatusBadRequest, `verify: "yes" is neither`},
		"?rate=fast":     {http.StatusBadRequest, "rate: "},
		"?repiar=1":      {http.StatusBadRequest, "repiar: not a parameter"},
		"?rebuild=1":     {http.StatusBadRequest, "stop the server"},
		"?%zz":           {http.StatusBadRequest, "invalid URL escape"},
	} {
		response := post(t.Context(), t, http.MethodPost, base+query)
		var text bytes.Buffer
		if _, err := text.ReadFrom(response.Body); err != nil || response.StatusCode != want.status || !strings.Contains(text.String(), want.text) {
			t.Errorf("%s: status %d, %s, %v", query, response.StatusCode, &text, err)
		}
	}
	if response := post(t.Context(), t, http.MethodGet, base); response.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", response.StatusCode)
	}
}

// A store is checked once at a time, for as long as the client stays.
func TestCheckEndsWithItsClient(t *testing.T) {
	c := openTestCache(t, 4<<20)
	base, done := checkServer(t)
	base += "?path=" + url.QueryEscape(c.path)
	ctx, leave := context.WithCancel(t.Context())
	response := post(ctx, t, http.MethodPost, base+"&verify=1&rate=256KiB") // 16 s
	decoder := json.NewDecoder(response.Body)
	// It outlives the read timeout of the server.
	for began := time.Now(); time.Since(began) < 600*time.Millisecond; {
		var line checkLine
		if err := decoder.Decode(&line); err != nil || line.Report != nil {
			t.Fatalf("line is %+v, %v", line, err)
		}
	}
	if response := post(t.Context(), t, http.MethodPost, base); response.StatusCode != http.StatusConflict {
		t.Errorf("status of a second check is %d", response.StatusCode)
	}
	leave()
	<-done
	if response := post(t.Context(), t, http.MethodPost, base); response.StatusCode != http.StatusOK {
		t.Errorf("status afterwards is %d", response.StatusCode)
	}
	<-done
}

// A reload that gives up a store does not wait for its check, which says so.
func TestCheckEndsWithItsStore(t *testing.T) {
	c, err := acquireCache(openTestCache(t, 4<<20).path, storage.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := releaseCache(c); err != nil {
			t.Error(err)
		}
	}()
	base, _ := checkServer(t)
	response := post(t.Context(), t, http.MethodPost, base+"?verify=1&rate=256KiB")
	decoder := json.NewDecoder(response.Body)
	var line checkLine
	for line.Progress == nil {
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.store.Close(); err != nil {
		t.Fatal(err)
	}
	for line.Report == nil {
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(line.Error, storage.ErrClosed.Error()) {
		t.Errorf("last line is %+v", line)
	}
}
