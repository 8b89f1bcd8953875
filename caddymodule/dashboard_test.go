package caddymodule

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// look asks for a page as a browser does.
func (s *site) look(path string, header ...string) (status int, body string, h http.Header) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := s.client()
	c.follow()
	response, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return response.StatusCode, string(raw), response.Header
}

// The dashboard is where its matcher says, tells of what users may pull, and a pull at the
// same site still is one.
func TestDashboard(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	upstream.PutImage("library/alpine", "3", 7, 3000)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\nupstream private.example {\nurl " + upstream.URL() +
		"\naccess alice\n}\n}\nregistry_mirror_dashboard /look/*")
	if status, body, h := s.look("/look/"); status != http.StatusOK || !strings.Contains(body, "<title>Pullgate</title>") || h.Get("Content-Security-Policy") == "" {
		t.Errorf("the page is %d %s", status, body)
	}
	if status, _, h := s.look("/look/app.js"); status != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "text/javascript") {
		t.Errorf("a script is %d, %v", status, h)
	}
	if status, body, _ := s.look("/look/api/options"); status != http.StatusOK || !strings.Contains(body, `"docker.io"`) || strings.Contains(body, "private.example") {
		t.Errorf("settings are %d %s", status, body)
	}
	if status, body, _ := s.look("/v2/proxy-docker.io/library/alpine/manifests/3"); status != http.StatusOK || !strings.Contains(body, "schemaVersion") {
		t.Errorf("a pull gets %d %s", status, body)
	}
	if status, body, _ := s.look("/look/api/images?q=alpine"); status != http.StatusOK || !strings.Contains(body, "docker.io/library/alpine:3") {
		t.Errorf("images are %d %s", status, body)
	}
}

// A reload ends the streams of open pages, and waits for none.
func TestReloadEndsStreams(t *testing.T) {
	s := newSite(t)
	const directives = "registry_mirror docker.io\nregistry_mirror_dashboard"
	s.load(directives)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `data: {"version"`) {
		continue
	}
	s.load(directives + " {\nactions\n}")
	for lines.Scan() {
		continue // it comes to its end
	}
	if status, _, _ := s.look("/"); status != http.StatusOK {
		t.Errorf("after the reload, the page is %d", status)
	}
}

func TestDashboardDirective(t *testing.T) {
	s := newSite(t)
	for directive, want := range map[string]string{
		"registry_mirror_dashboard {\nactoins\n}":                "want actions or show",
		"registry_mirror_dashboard {\nactions alice\nactions\n}": "given twice",
		"registry_mirror_dashboard {\nshow\n}":                   "want all",
		"registry_mirror_dashboard {\nshow some\n}":              "want all",
		"registry_mirror_dashboard all":                          "wrong argument count",
	} {
		if err := s.tryLoad("registry_mirror docker.io\n" + directive); err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
			t.Errorf("%s: %v", directive, err)
		}
	}
}

// At the root of a gateway, a browser gets a page where it got nothing, and nobody else
// gets anything new.
func TestWelcome(t *testing.T) {
	s := newSite(t)
	s.load("registry_mirror docker.io ghcr.io {\nupstream private.example {\naccess alice\n}\n}")
	status, body, h := s.look("/")
	for _, want := range []string{"Pullgate", "docker.io", "client-config containerd --endpoint http://" + s.addr + " docker.io ghcr.io"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page has no %q: %s", want, body)
		}
	}
	if status != http.StatusOK || strings.Contains(body, "private.example") || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page is %d, %v: %s", status, h, body)
	}
	for path, accept := range map[string]string{"/": "application/vnd.oci.image.manifest.v1+json, */*", "/other": "text/html", "/index.html": "text/html"} {
		if _, body, _ := s.look(path, "Accept", accept); body != "" {
			t.Errorf("%s for %s is %s", path, accept, body)
		}
	}
	if _, body, h := s.look("/v2/"); strings.Contains(body, "<html") || h.Get("Docker-Distribution-Api-Version") == "" {
		t.Errorf("a ping gets %s", body)
	}
	s.load("registry_mirror docker.io\nrespond / own")
	if _, body, _ := s.look("/"); body != "own" {
		t.Errorf("what the site answers with is %s", body)
	}
}
