package caddymodule

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/bcrypt"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestPull pulls an image cold and warm through everything that a careful site
// has: authentication, credentials, access by user.
func TestPull(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBearer, Username: "hub", Password: "hub-secret", CDN: true})
	image := upstream.PutImage("library/alpine", "3", 1, 100_000, 3<<20)
	t.Setenv("HUB_TOKEN", "hub-secret")
	hash, err := bcrypt.GenerateFromPassword([]byte("node-secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	s.load(fmt.Sprintf(`
		header Docker-Distribution-Api-Version registry/2.0
		basic_auth /v2* {
			node %[1]s
			guest %[1]s
		}
		registry_mirror {
			upstream docker.io {
				look_ahead off
				url %[2]s
				credentials hub {env.HUB_TOKEN}
				auth_origin %[3]s
				access node
			}
		}`, hash, upstream.URL(), strings.TrimSuffix(upstream.TokenURL(), "/token")))

	stranger := s.client()
	response, _ := stranger.get("/v2/")
	if response.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), "Basic ") ||
		response.Header.Get("Docker-Distribution-Api-Version") != "registry/2.0" {
		t.Errorf("GET /v2/ without a password: %s, header %v", response.Status, response.Header)
	}
	guest := s.client()
	guest.user, guest.password = "guest", "node-secret"
	if response, body := guest.get("/v2/proxy-docker.io/library/alpine/manifests/3"); response.StatusCode != http.StatusForbidden {
		t.Errorf("GET as a user without access: %s: %s", response.Status, body)
	}
	if n := upstream.Count("", ""); n != 0 {
		t.Errorf("%d requests to the upstream before anybody with access has asked", n)
	}

	node := s.client()
	node.user, node.password = "node", "node-secret"
	for _, status := range node.pull("/v2/proxy-docker.io", image) {
		if !strings.Contains(status, "fwd=miss") {
			t.Errorf("cold: Cache-Status %q", status)
		}
	}
	if n := upstream.CountHost(registrytest.HostCDN, http.MethodGet, "blobs"); n != 3 {
		t.Errorf("cold: %d blobs crossed the link, want 3", n)
	}
	upstream.Reset()
	for _, status := range node.pull("/v2/proxy-docker.io", image) {
		if !strings.HasPrefix(status, "pullgate; hit") {
			t.Errorf("warm: Cache-Status %q", status)
		}
	}
	if requests := upstream.Requests(); len(requests) != 0 {
		t.Errorf("warm: the upstream saw %v", requests)
	}
	if response, body := guest.get("/v2/proxy-docker.io/library/alpine/manifests/3"); response.StatusCode != http.StatusForbidden {
		t.Errorf("GET of what is cached as a user without access: %s: %s", response.Status, body)
	}
}

// TestAuthenticatedByDefault: credentials without an access option never make
// private content public.
func TestAuthenticatedByDefault(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "hub", Password: "hub-secret"})
	image := upstream.PutImage("private/image", "1", 2, 10)
	t.Setenv("HUB_TOKEN", "hub-secret")
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "log")
	s.log = "output file " + file
	warned := func() int {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(raw), "only users whom Caddy has authenticated may pull from this upstream")
	}
	options := fmt.Sprintf("url %s\ncredentials hub {env.HUB_TOKEN}\n", upstream.URL())
	s.load("registry_mirror {\nupstream registry.corp {\n" + options + "}\n}")
	c := s.client()
	if response, body := c.get("/v2/proxy-registry.corp/private/image/manifests/1"); response.StatusCode != http.StatusForbidden ||
		!strings.Contains(string(body), "access to registry.corp/private/image is denied: the upstream has credentials, and no option access") {
		t.Errorf("GET by nobody: %s: %s", response.Status, body)
	}
	if n := warned(); n != 1 {
		t.Errorf("warned %d times of the missing option, want once", n)
	}
	if n := upstream.Count("", ""); n != 0 {
		t.Errorf("the upstream saw %d requests", n)
	}
	s.load("registry_mirror {\nupstream registry.corp {\n" + options + "access public\n}\n}")
	c.pull("/v2/proxy-registry.corp", image)
	if n := warned(); n != 1 {
		t.Errorf("warned %d times although the option is there", n-1)
	}
}

// TestNext: what is not of the pull API is for the handlers after ours. What is
// gets placeholders before its header is written.
func TestNext(t *testing.T) {
	s := newSite(t)
	s.load(`
		header /v2/* >X-Late "{http.registry_mirror.kind} {http.registry_mirror.upstream} {http.registry_mirror.repository} {http.registry_mirror.cache}."
		registry_mirror docker.io
		respond next`)
	c := s.client()
	for _, path := range []string{"/", "/v2x", "/proxy-ghcr.io/v2/x"} {
		if response, body := c.get(path); response.StatusCode != http.StatusOK || string(body) != "next" {
			t.Errorf("GET %s: %s %q, want the next handler", path, response.Status, body)
		}
	}
	response, _ := c.get("/v2/proxy-docker.io/")
	if got, want := response.Header.Get("X-Late"), "ping docker.io  ."; got != want {
		t.Errorf("placeholders say %q, want %q", got, want)
	}
}

// TestMetrics compares what each kind of answer adds to the metrics, exactly.
func TestMetrics(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 3, 2<<20)
	const size = 4 << 20
	shared := upstream.PutBlob("library/alpine", registrytest.Random(4, size))
	s, name := newSite(t), ownName()
	config := func(ttl string) string {
		return fmt.Sprintf("registry_mirror {\nupstream %s {\nurl %s\ntag_ttl %s\nlook_ahead off\n}\n}", name, upstream.URL(), ttl)
	}
	scrape := func() samples { return s.scrape().of(name) }
	s.load(config("1h"))
	c := s.client()
	platform := image.Platforms[0]
	manifests := float64(len(image.IndexBytes) + len(platform.ManifestBytes))
	blobs := float64(platform.Config.Size + 2<<20)

	check := func(what string, before, want samples) {
		t.Helper()
		if diff := cmp.Diff(want, scrape().since(before)); diff != "" {
			t.Errorf("%s: metrics (-want +got)\n%s", what, diff)
		}
	}
	before := scrape()
	c.pull("/v2/proxy-"+name, image)
	filled(t)
	check("cold", before, samples{
		`pulls_total{result="ok",upstream="docker.io"}`:                               1,
		`requests_total{kind="manifest",result="miss",upstream="docker.io"}`:          2,
		`requests_total{kind="blob",result="miss",upstream="docker.io"}`:              2,
		`response_bytes_total{kind="manifest",upstream="docker.io"}`:                  manifests,
		`response_bytes_total{kind="blob",upstream="docker.io"}`:                      blobs,
		`upstream_requests_total{class="ok",op="head_manifest",upstream="docker.io"}`: 1,
		`upstream_requests_total{class="ok",op="get_manifest",upstream="docker.io"}`:  2,
		`upstream_requests_total{class="ok",op="get_blob",upstream="docker.io"}`:      2,
		`upstream_bytes_total{upstream="docker.io"}`:                                  manifests + blobs,
		`fills_total{class="ok",upstream="docker.io"}`:                                2,
		`cache_blobs`: 2,
		`cache_bytes`: blobs,
		`cache_upstream_bytes{upstream="docker.io"}`: blobs,
	})

	before = scrape()
	c.pull("/v2/proxy-"+name, image)
	check("warm", before, samples{
		`pulls_total{result="ok",upstream="docker.io"}`:                     1,
		`requests_total{kind="manifest",result="hit",upstream="docker.io"}`: 2,
		`requests_total{kind="blob",result="hit",upstream="docker.io"}`:     2,
		`response_bytes_total{kind="manifest",upstream="docker.io"}`:        manifests,
		`response_bytes_total{kind="blob",upstream="docker.io"}`:            blobs,
	})

	// The upstream sends half a blob and waits: the second client cannot but join.
	before = scrape()
	release, open := registrytest.Hold(t)
	upstream.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		next(&halting{ResponseWriter: w, left: size / 2, release: release}, r)
	})
	path := "/v2/proxy-" + name + "/library/alpine/blobs/" + shared.String()
	first := c.do(http.MethodGet, path)
	second := s.client()
	joined := second.do(http.MethodGet, path)
	if status := joined.Header.Get("Cache-Status"); !strings.Contains(status, "collapsed") {
		t.Errorf("joined: Cache-Status %q", status)
	}
	open()
	if sha256.Sum256(c.rest(first)) != sha256.Sum256(second.rest(joined)) {
		t.Error("two clients got different bytes")
	}
	c.settle()
	second.settle()
	upstream.Hook(nil)
	filled(t)
	check("joined", before, samples{
		`requests_total{kind="blob",result="miss",upstream="docker.io"}`:         1,
		`requests_total{kind="blob",result="joined",upstream="docker.io"}`:       1,
		`response_bytes_total{kind="blob",upstream="docker.io"}`:                 2 * size,
		`upstream_requests_total{class="ok",op="get_blob",upstream="docker.io"}`: 1,
		`upstream_bytes_total{upstream="docker.io"}`:                             size,
		`fills_total{class="ok",upstream="docker.io"}`:                           1,
		`cache_blobs`: 1,
		`cache_bytes`: size,
		`cache_upstream_bytes{upstream="docker.io"}`: size,
	})

	// Counts survive a reload; a tag that cannot be confirmed is served stale.
	before = scrape()
	s.load(config("0"))
	check("reload", before, samples{})
	resume := upstream.Pause()
	response, body := c.get("/v2/proxy-" + name + "/library/alpine/manifests/3")
	resume()
	c.settle()
	if response.StatusCode != http.StatusOK || !strings.Contains(response.Header.Get("Cache-Status"), "stale") {
		t.Fatalf("stale: %s, Cache-Status %q", response.Status, response.Header.Get("Cache-Status"))
	}
	after := scrape().since(before)
	for name := range after {
		// How often a dead upstream is tried is not this package's business.
		if strings.HasPrefix(name, "upstream_requests_total") && !strings.Contains(name, `class="ok"`) {
			delete(after, name)
		}
	}
	if diff := cmp.Diff(samples{
		`requests_total{kind="manifest",result="stale",upstream="docker.io"}`:                      1,
		`response_bytes_total{kind="manifest",upstream="docker.io"}`:                               float64(len(body)),
		`stale_served_total{reason="connect",upstream="docker.io"}`:                                1,
		fmt.Sprintf(`upstream_state{state="failing",upstream="docker.io",url=%q}`, upstream.URL()): 1,
		fmt.Sprintf(`upstream_state{state="ok",upstream="docker.io",url=%q}`, upstream.URL()):      -1,
	}, after); diff != "" {
		t.Errorf("stale: metrics (-want +got)\n%s", diff)
	}

	before = scrape()
	for path, status := range map[string]int{
		"/v2/proxy-" + name + "/library/alpine/manifests/none": http.StatusNotFound,
		"/v2/proxy-nowhere.example/x/manifests/1":              http.StatusNotFound,
		"/v2/proxy-" + name + "/UPPER/manifests/1":             http.StatusBadRequest,
		"/v2/": http.StatusOK,
	} {
		if response, _ := c.get(path); response.StatusCode != status {
			t.Errorf("GET %s: %s, want %d", path, response.Status, status)
		}
	}
	c.settle()
	got := scrape().since(before)
	for _, name := range []string{
		`requests_total{kind="manifest",result="notfound",upstream="docker.io"}`,
		`requests_total{kind="",result="notfound",upstream=""}`,
	} {
		if got[name] != 1 {
			t.Errorf("%s grew by %v, want 1; all: %v", name, got[name], got)
		}
	}
	for name, n := range got {
		if strings.Contains(name, `kind="ping"`) {
			t.Errorf("%s counts pings: %v", name, n)
		}
	}
}

// halting holds the answer back once it has let some bytes through.
type halting struct {
	http.ResponseWriter
	left    int
	release <-chan struct{}
}

func (w *halting) Write(p []byte) (int, error) {
	if w.left <= 0 {
		_ = http.NewResponseController(w.ResponseWriter).Flush()
		<-w.release
	}
	w.left -= len(p)
	return w.ResponseWriter.Write(p)
}

func (w *halting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestAccessLog reads the fields that the handler adds.
func TestAccessLog(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 5, 10)
	s := newSite(t)
	file := filepath.Join(t.TempDir(), "access.log")
	s.load(fmt.Sprintf("log {\noutput file %s\nformat json\n}\nregistry_mirror {\nupstream docker.io {\nurl %s\n}\n}", file, upstream.URL()))
	c := s.client()
	path := "/v2/proxy-docker.io/library/alpine/manifests/" + image.Tag
	c.get(path)
	c.get(path)
	c.get("/v2/")
	c.settle()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	for i, result := range []string{"miss", "hit"} {
		want := fmt.Sprintf(`"upstream":"docker.io","repository":"library/alpine","digest":%q,"cache":%q,"first_byte":`, image.Index.Digest, result)
		if !strings.Contains(lines[i], want) || strings.Contains(lines[i], `"upstream_time":0}`) != (result == "hit") {
			t.Errorf("line %d of the access log has no %s, or another upstream_time: %s", i+1, want, lines[i])
		}
	}
	if strings.Contains(lines[2], `"cache"`) {
		t.Errorf("a ping has a cache field: %s", lines[2])
	}
}

// TestSecrets looks for secrets wherever configurations are shown or stored.
func TestSecrets(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "hub-user", Password: "hub-password"})
	image := upstream.PutImage("library/alpine", "3", 6, 10)
	dir := t.TempDir()
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte("hub-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("HUB_USER", "hub-user")
	s := newSite(t)
	s.global = "admin unix/" + filepath.Join(dir, "admin.sock")
	s.load(fmt.Sprintf("registry_mirror {\nupstream docker.io {\nurl %s\ncredentials {env.HUB_USER} {file.%s}\naccess public\n}\n}", upstream.URL(), secret))
	s.client().pull("/v2/proxy-docker.io", image)

	admin := &http.Client{Transport: unixTransport(t, filepath.Join(dir, "admin.sock"))}
	shown := map[string]string{}
	for _, path := range []string{"/config/", "/registry_mirror/", "/debug/vars"} {
		response, err := admin.Get("http://admin" + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(path, response.Status, err)
		}
		_ = response.Body.Close()
		shown[path] = string(body)
	}
	autosave, err := os.ReadFile(os.Getenv("XDG_CONFIG_HOME") + "/caddy/autosave.json")
	if err != nil {
		t.Fatal(err)
	}
	shown["autosave.json"] = string(autosave)
	for where, text := range shown {
		if strings.Contains(text, "hub-password") || strings.Contains(text, "hub-user") {
			t.Errorf("%s shows a secret: %s", where, text)
		}
	}
	if !strings.Contains(shown["/config/"], "{file."+secret+"}") {
		t.Errorf("/config/ does not show the placeholder: %s", shown["/config/"])
	}
	if want := fmt.Sprintf(`"path":%q,"blobs":2,`, s.storage); !strings.Contains(shown["/registry_mirror/"], want) {
		t.Errorf("/registry_mirror/ is %s, want it to have %s", shown["/registry_mirror/"], want)
	}
}
