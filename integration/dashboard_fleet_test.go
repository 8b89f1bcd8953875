//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/bucket/buckettest"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// shownFleet are gateways with a dashboard each, which share a bucket.
type shownFleet struct {
	gateways []*shown
	bucket   *buckettest.Server
}

// startFleet starts gateways that know each other, and the address of one that there is
// not.
func startFleet(t *testing.T, n int) *shownFleet {
	t.Helper()
	f := &shownFleet{bucket: buckettest.New()}
	server := httptest.NewServer(f.bucket)
	t.Cleanup(server.Close)
	f.report(t, server.URL+"/cache/v1/report")
	from := registrytest.New(t, registrytest.Options{})
	from.PutImage("library/nginx", "1.29", 1, 3<<20, 700<<10, 2000)
	from.PutImage("library/postgres", "18", 2, 9<<20, 4<<20, 30<<10)
	from.PutImage("library/alpine", "3.22", 3, 1600<<10, 900)
	var peers []string
	for range n + 1 {
		peers = append(peers, "127.0.0.1:"+freePort(t))
	}
	for _, listen := range peers[:n] {
		dir, port := t.TempDir(), freePort(t)
		s := &shown{host: "127.0.0.1:" + freePort(t), page: "http://127.0.0.1:" + port + "/", hub: from}
		remember(t, filepath.Join(dir, "cache"))
		config := writeFile(t, fmt.Sprintf(`{
	admin off
	persist_config off
	registry_mirror {
		storage %s
		fleet %s/cache {
			credentials fleet {env.S3_SECRET}
			max_size 2TiB
			peers %s
			listen %s
			secret {env.FLEET_SECRET}
		}
	}
}

http://%s {
	bind 127.0.0.1
	registry_mirror {
		upstream docker.io {
			url %s
		}
	}
}

http://127.0.0.1:%s {
	bind 127.0.0.1
	registry_mirror_dashboard {
		actions
	}
}
`, filepath.Join(dir, "cache"), server.URL, strings.Join(peers, " "), listen, s.host, from.URL(), port), dir, "Caddyfile")
		s.process = start(t, []string{"XDG_DATA_HOME=" + dir, "S3_SECRET=secret", "FLEET_SECRET=0123456789abcdef0123456789abcdef"}, binary, "run", "--config", config)
		f.gateways = append(f.gateways, s)
	}
	for _, s := range f.gateways {
		s.await(t, answers(http.DefaultClient, "http://"+s.host+"/v2/"))
	}
	return f
}

// report puts into the bucket what some gateway has found there a while ago.
func (f *shownFleet) report(t *testing.T, url string) {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"begun": time.Now().Add(-2 * time.Hour), "ended": time.Now().Add(-2*time.Hour + 7*time.Minute),
		"blobs": 812345, "bytes": int64(1.4e12), "manifests": 61234, "proofs": 1512345, "pinned_bytes": int64(2.1e11), "removed": 5123, "removed_bytes": int64(3.2e10),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

// fill has writes to the bucket refused.
func (f *shownFleet) fill() {
	f.bucket.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.Method != http.MethodPut {
			next(w, r)
			return
		}
		w.WriteHeader(http.StatusInsufficientStorage)
		_, _ = w.Write([]byte("<Error><Code>XMinioStorageFull</Code><Message>Storage backend has reached its minimum free drive threshold.</Message></Error>"))
	})
}

// TestDashboardFleet looks at the view of a fleet of three gateways and one that is lost,
// while all is well, and once their bucket is full.
func TestDashboardFleet(t *testing.T) {
	f := startFleet(t, 3)
	s := f.gateways[0]
	for _, at := range []struct {
		gateway int
		image   string
	}{{1, "nginx:1.29"}, {0, "nginx:1.29"}, {2, "postgres:18"}, {0, "postgres:18"}, {0, "nginx:1.29"}} {
		if err := f.gateways[at.gateway].pull(t, "docker.io/library/"+at.image); err != nil {
			t.Fatal(err)
		}
	}
	s.act(t, "pin?pattern=docker.io/library/nginx")
	b := newBrowser(t)
	b.open(t, s.page+"#/fleet")
	for _, text := range []string{
		"of 4, with this one; 1 silent", "connection refused", "start the gateway there", // the lost one, its cause and its cure
		"this gateway", "alive", "33 %", "agrees", "Own disk", "Uploads waiting", "known as of", "812,345 blobs", "docker.io/library/nginx",
	} {
		b.has(t, text)
	}
	b.keep(t, "fleet-well")
	f.fill()
	if err := s.pull(t, "docker.io/library/alpine:3.22"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"Not written", "507 XMinioStorageFull", "make room there", "not done, the oldest since"} {
		b.has(t, text)
	}
	for _, at := range []struct {
		scheme string
		width  int64
	}{{"light", 1280}, {"dark", 1280}, {"light", 390}} {
		name := fmt.Sprintf("fleet-%s-%d", at.scheme, at.width)
		b.look(t, at.scheme, at.width)
		b.open(t, s.page+"#/fleet")
		b.awaits(t, `!document.querySelector('main').innerText.includes('Asking') && !document.querySelector('main').innerText.includes('Looking')`)
		if found := b.barriers(t); len(found) > 0 {
			t.Errorf("%s: axe finds\n%s", name, strings.Join(found, "\n"))
		}
		if wide := evaluate[int64](t, b, "document.documentElement.scrollWidth"); wide > at.width {
			t.Errorf("%s: the page is %d pixels wide", name, wide)
		}
		b.keep(t, name)
	}
	if heard := b.heard(); len(heard) > 0 {
		t.Errorf("the page complains: %q", heard)
	}
	// The overview tells of the same problems.
	b.open(t, s.page+"#/overview")
	b.has(t, "make room there")
}

// act has the page act.
func (s *shown) act(t *testing.T, what string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.page+"api/"+what, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Pullgate-Action", "1")
	r.Header.Set("Origin", strings.TrimSuffix(s.page, "/"))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d", what, response.StatusCode)
	}
}
