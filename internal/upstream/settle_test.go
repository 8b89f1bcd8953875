package upstream

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// A HEAD may be refused in any way, or not be answered at all: as long as GET answers,
// nobody is refused anything.
func TestGetSettlesWhateverHeadDoes(t *testing.T) {
	t.Parallel()
	var s *httptest.Server
	challenge := func(format string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { demand(w, "%s", strings.ReplaceAll(format, "%s", s.URL)) }
	}
	for name, head := range map[string]http.HandlerFunc{
		"Basic":                challenge(`Basic realm="x"`),
		"no realm":             challenge(`Bearer service="x"`),
		"a realm of no use":    challenge(`Bearer realm="null://elsewhere/token"`),
		"a dead realm":         challenge(`Bearer realm="http://127.0.0.1:9/token"`),
		"token server, 400":    challenge(`Bearer realm="%s/token/400"`),
		"token server, 403":    challenge(`Bearer realm="%s/token/403"`),
		"token server, 404":    challenge(`Bearer realm="%s/token/404"`),
		"token server, 500":    challenge(`Bearer realm="%s/token/500"`),
		"token server, a page": challenge(`Bearer realm="%s/token/200"`),
		"cut":                  func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a private address":    func(w http.ResponseWriter, _ *http.Request) { redirect(w, 307, "http://10.1.2.3/x") },
		"a dead host":          func(w http.ResponseWriter, _ *http.Request) { redirect(w, 307, "http://127.0.0.1:9/x") },
		"a circle":             func(w http.ResponseWriter, r *http.Request) { redirect(w, 307, r.URL.Path) },
		"silence":              func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s = scriptIn(t, n, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.HasPrefix(r.URL.Path, "/token/"):
						status := 0
						_, _ = fmt.Sscan(strings.TrimPrefix(r.URL.Path, "/token/"), &status)
						w.WriteHeader(status)
						_, _ = io.WriteString(w, "<html>")
					case r.URL.Path == "/v2/":
					case r.Method == http.MethodHead:
						head(w, r)
					case strings.Contains(r.URL.Path, "/blobs/"):
						http.ServeContent(w, r, "", time.Time{}, strings.NewReader("blob"))
					default:
						sendIndex(w)
					}
				})
				c := newClientIn(t, n, s.URL, func(o *Options) { o.Timeouts.Operation = 3 * time.Second })
				if d, err := headManifest(t.Context(), c, repo, tag("1")); err != nil || d.Digest != oci.Sum([]byte(emptyIndex)) {
					t.Errorf("manifest: %v, %v", d, err)
				}
				if size, err := c.HeadBlob(t.Context(), repo, oci.Sum([]byte("blob"))); err != nil || size != 4 {
					t.Errorf("blob: %d, %v", size, err)
				}
			})
		})
	}
}

// Gitea has sent redirects that announce the length of what they lead to, and no body.
func TestRedirectWithoutTheBodyItAnnounces(t *testing.T) {
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/there" {
			sendIndex(w)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		context.AfterFunc(t.Context(), func() { _ = conn.Close() })
		_, _ = buffered.WriteString("HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 1000\r\n\r\n")
		_ = buffered.Flush()
	})
	began := time.Now()
	if _, err := newClient(t, s.URL).Manifest(t.Context(), repo, tag("1")); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
}

// What a storage behind a redirect says of the type of a manifest counts for nothing.
func TestManifestOfAnyType(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{
		"binary/octet-stream", "application/xml", "application/vnd.oci.image.config.v1+json", "image/png", "no type at all", "text/html", "",
	} {
		s := script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, emptyIndex)
		})
		m, err := newClient(t, s.URL).Manifest(t.Context(), repo, tag("1"))
		if err != nil || m.MediaType != "application/vnd.oci.image.index.v1+json" {
			t.Errorf("%q: %q, %v", contentType, m.MediaType, err)
		}
	}
}

// The digest of a signed schema 1 is not that of its bytes: it is no damage, but nothing
// that is mirrored either.
func TestSchema1(t *testing.T) {
	t.Parallel()
	s := script(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", oci.MediaTypeDockerSchema1Signed)
		_, _ = io.WriteString(w, `{"schemaVersion":1,"name":"a","tag":"1","fsLayers":[],"history":[],"signatures":[]}`)
	})
	for _, ref := range []oci.Reference{tag("1"), {Digest: oci.Sum([]byte("payload"))}} {
		e := wantClass(t, second(newClient(t, s.URL).Manifest(t.Context(), repo, ref)), oci.ClassNotFound)
		if !strings.Contains(e.Message, "schema 1") {
			t.Errorf("%q", e.Message)
		}
	}
}

// One repository that is told to wait keeps no other one waiting; two of them do.
func TestLimitOfOneRepository(t *testing.T) {
	t.Parallel()
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/limited") {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		sendIndex(w)
	})
	now := newClock()
	c := newClient(t, s.URL, func(o *Options) { o.Now = now.Now })
	ask := func(repository string) error { return second(c.Manifest(t.Context(), repository, tag("1"))) }
	for range 3 {
		wantClass(t, ask("limited/a"), oci.ClassRateLimited)
		if err := ask("free"); err != nil {
			t.Fatal(err)
		}
	}
	wantClass(t, ask("limited/b"), oci.ClassRateLimited)
	wantClass(t, ask("free"), oci.ClassRateLimited)
	now.add(wire.DefaultRetryAfter)
	if err := ask("free"); err != nil {
		t.Error(err)
	}
}
