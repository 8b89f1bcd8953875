package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/storage"
)

// carryServer serves export and import of the admin API. done gets a value when a
// request has ended.
func carryServer(t *testing.T) (base string, done chan struct{}) {
	t.Helper()
	done = make(chan struct{}, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { done <- struct{}{} }()
		handle := AdminAPI{}.export
		if r.URL.Path == importPath {
			handle = AdminAPI{}.importBundle
		}
		if answer, ok := errors.AsType[caddy.APIError](handle(w, r)); ok {
			http.Error(w, answer.Err.Error(), answer.HTTPStatus)
		}
	}))
	// Caddy's is 10 s.
	server.Config.ReadTimeout = 200 * time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	return server.URL, done
}

// carryCache opens a store as the App of a configuration without sites does.
func carryCache(t *testing.T) *cache {
	t.Helper()
	c, err := acquireCache(t.TempDir(), storage.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	run := &appRun{path: c.path, log: slog.DiscardHandler}
	c.adopt(run)
	t.Cleanup(func() {
		c.disown(run)
		if err := releaseCache(c); err != nil {
			t.Error(err)
		}
	})
	return c
}

// singleBundle returns a bundle of one image with one blob of n bytes, and the name
// of that.
func singleBundle(t *testing.T, n int) (raw []byte, name bundle.Name) {
	t.Helper()
	content := registrytest.Random(1, n)
	blob := oci.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: oci.Sum(content), Size: int64(n)}
	b, err := json.Marshal(ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: blob, Layers: []oci.Descriptor{blob}})
	if err != nil {
		t.Fatal(err)
	}
	m := oci.Manifest{MediaType: ocispec.MediaTypeImageManifest, Digest: oci.Sum(b), Bytes: b}
	if name, err = bundle.ParseName("docker.io/library/alpine:3"); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := bundle.NewWriter(&out)
	if err := errors.Join(
		w.Begin(bundle.Index{Images: []bundle.Image{{Name: name, Descriptor: m.Descriptor()}}}),
		w.Manifest(m), w.Blob(blob, bytes.NewReader(content)), w.Close(),
	); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), name
}

// send posts a body, and returns the last line of the answer.
func send(ctx context.Context, t *testing.T, uri string, body io.Reader) (int, importLine) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, uri, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	for decoder := json.NewDecoder(response.Body); ; {
		var line importLine
		if err := decoder.Decode(&line); err != nil || line.Result != nil {
			if err != nil && response.StatusCode == http.StatusOK {
				t.Errorf("answer: %v", err)
			}
			return response.StatusCode, line
		}
	}
}

func tagged(c *cache, name bundle.Name) bool {
	_, err := c.store.Tag(context.Background(), oci.Scope{Upstream: name.Upstream, Repository: name.Repository}, name.Reference.Tag)
	return err == nil
}

// slowly hands out a little at a time, and then a pause.
type slowly struct {
	b     []byte
	pause time.Duration
}

func (s *slowly) Read(b []byte) (int, error) {
	if len(s.b) == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.pause) // the deadline of a connection knows only the real clock
	n := copy(b, s.b[:min(len(s.b), 4<<10)])
	s.b = s.b[n:]
	return n, nil
}

func TestCarryThroughAdminAPI(t *testing.T) {
	c := carryCache(t)
	base, _ := carryServer(t)
	raw, name := singleBundle(t, 40<<10)
	// It outlives the read timeout of the server.
	status, line := send(t.Context(), t, base+importPath, &slowly{raw, 50 * time.Millisecond})
	if status != http.StatusOK || line.Result == nil || line.Result.Error != "" || line.Result.Path != c.path || line.Result.Report.Blobs != 1 {
		t.Errorf("status %d, %+v", status, line.Result)
	}
	if !tagged(c, name) {
		t.Error("no tag")
	}
	response := post(t.Context(), t, http.MethodPost, base+exportPath)
	got, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "application/x-tar" || !bytes.Equal(got, raw) {
		t.Errorf("status %d, %d bytes of %d, %v", response.StatusCode, len(got), len(raw), err)
	}
}

func TestCarryIsRefused(t *testing.T) {
	carryCache(t)
	base, _ := carryServer(t)
	for uri, want := range map[string]struct {
		body   string
		status int
		text   string
	}{
		exportPath:                    {"", http.StatusNotFound, "there is no image to export"},
		exportPath + "?path=/nowhere": {"", http.StatusNotFound, "no store is open at /nowhere"},
		exportPath + "?images=a":      {"", http.StatusBadRequest, "images: not a parameter"},
		exportPath + "?":              {"{", http.StatusBadRequest, "read what to export"},
		exportPath + "?report=0":      {`{"images":["A b"]}`, http.StatusBadRequest, "no image reference"},
		exportPath + "?report=1":      {`{"platforms":["amd64"]}`, http.StatusBadRequest, "no platform"},
		importPath + "?as=alpine":     {"", http.StatusBadRequest, "as: not a parameter"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+uri, strings.NewReader(want.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != want.status || !strings.Contains(string(text), want.text) {
			t.Errorf("%s: status %d, %s, %v", uri, response.StatusCode, text, err)
		}
	}
	for _, path := range []string{exportPath, importPath} {
		if response := post(t.Context(), t, http.MethodGet, base+path); response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: status %d", path, response.StatusCode)
		}
	}
}

// Who sends gets to know what is wrong, however much there still is to send.
func TestImportTellsDamage(t *testing.T) {
	c := carryCache(t)
	base, _ := carryServer(t)
	raw, name := singleBundle(t, 8<<20)
	raw[3<<9] ^= 1 // of the manifest, or near
	for at := range raw[:8<<10] {
		if raw[at] == '{' && at > 3<<10 {
			raw[at] = '['
			break
		}
	}
	status, line := send(t.Context(), t, base+importPath, bytes.NewReader(raw))
	if status != http.StatusOK || line.Result == nil || !strings.Contains(line.Result.Error, "damaged") {
		t.Errorf("status %d, %+v", status, line.Result)
	}
	if tagged(c, name) {
		t.Error("it shows")
	}
}

// Of an import whose client leaves, nothing shows; nor of one whose store is closed.
func TestImportEndsEarly(t *testing.T) {
	c := carryCache(t)
	base, done := carryServer(t)
	raw, name := singleBundle(t, 4<<20)
	read, write := io.Pipe()
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, base+importPath, read)
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() {
		response, err := http.DefaultClient.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		gone <- err
	}()
	if _, err := write.Write(raw[:2<<20]); err != nil {
		t.Fatal(err)
	}
	leave()
	_ = write.CloseWithError(context.Canceled)
	if err := <-gone; err == nil {
		t.Error("no error")
	}
	<-done
	if tagged(c, name) || c.store.Usage().Fills > 0 {
		t.Error("something is left")
	}
	status, line := send(t.Context(), t, base+importPath, io.MultiReader(
		bytes.NewReader(raw[:2<<20]), closer(func() { _ = c.store.Close() }), bytes.NewReader(raw[2<<20:])))
	if status != http.StatusOK || line.Result == nil || !strings.Contains(line.Result.Error, "closed") {
		t.Errorf("status %d, %+v", status, line.Result)
	}
	<-done
}

// closer does something where others would read.
type closer func()

func (c closer) Read([]byte) (int, error) {
	c()
	return 0, io.EOF
}

// An export whose blob is damaged meanwhile does not end as a whole one does.
func TestExportOfDamage(t *testing.T) {
	c := carryCache(t)
	base, _ := carryServer(t)
	raw, _ := singleBundle(t, 1<<20)
	send(t.Context(), t, base+importPath, bytes.NewReader(raw))
	damageBlobs(t, c.path)
	response := post(t.Context(), t, http.MethodPost, base+exportPath)
	if got, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("status %d, %d bytes and no error", response.StatusCode, len(got))
	}
	if response := post(t.Context(), t, http.MethodPost, base+exportPath); response.StatusCode != http.StatusNotFound {
		t.Errorf("status afterwards is %d", response.StatusCode)
	}
}
