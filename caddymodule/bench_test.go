package caddymodule

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// nowhere is a response that nobody reads.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header              { return n.header }
func (n *nowhere) WriteHeader(int)                  {}
func (n *nowhere) Write(p []byte) (int, error)      { return len(p), nil }
func (n *nowhere) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkManifestHit measures all of Caddy but its connections, beside what
// Caddy itself answers with as much.
func BenchmarkManifestHit(b *testing.B) {
	upstream := registrytest.New(b, registrytest.Options{})
	image := upstream.PutImage("library/alpine", "3", 1, 1000)
	s := newSite(b)
	s.global += "\nmetrics\nservers {\ntimeouts {\nwrite_idle 1m\n}\n}"
	const base = "/v2/proxy-docker.io/library/alpine/manifests/"
	s.load("log {\noutput file " + filepath.Join(b.TempDir(), "access.log") + " {\nroll_uncompressed\nroll_keep 1\n}\n}\n" +
		"handle /respond {\nheader Content-Type application/json\nrespond `" + string(image.IndexBytes) + "`\n}\n" +
		"registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\ntag_ttl 1h\n}\n}")
	app, err := caddy.ActiveContext().App("http")
	if err != nil {
		b.Fatal(err)
	}
	var server *caddyhttp.Server
	for _, server = range app.(*caddyhttp.App).Servers {
	}
	digest := base + image.Index.Digest.String()
	for _, of := range []struct{ name, method, path string }{
		{"tag", http.MethodGet, base + "3"},
		{"digest", http.MethodGet, digest},
		{"head", http.MethodHead, digest},
		{"respond", http.MethodGet, "/respond"},
	} {
		b.Run(of.name, func(b *testing.B) {
			ask := httptest.NewRequest(of.method, "http://"+s.addr+of.path, nil)
			answer := httptest.NewRecorder()
			if server.ServeHTTP(answer, ask); answer.Code != http.StatusOK {
				b.Fatalf("%s: %d", of.path, answer.Code)
			}
			b.ReportAllocs()
			for b.Loop() {
				server.ServeHTTP(&nowhere{header: http.Header{}}, ask)
			}
		})
	}
}
