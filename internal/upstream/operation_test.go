package upstream

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func copyBody(w io.Writer, r *http.Response) (int64, error) { return io.Copy(w, r.Body) }

func TestSeveralURLs(t *testing.T) {
	t.Parallel()
	fail := func(status int) registrytest.Hook {
		return func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) { w.WriteHeader(status) }
	}
	good := registrytest.Hook(nil)
	cut := func(http.ResponseWriter, *http.Request, http.HandlerFunc) { panic(http.ErrAbortHandler) }
	page := func(w http.ResponseWriter, _ *http.Request, _ http.HandlerFunc) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<html>")
	}
	for name, test := range map[string]struct {
		first, second registrytest.Hook
		class         oci.Class
		asked         [2]int // requests to each
	}{
		"first answers":      {good, good, oci.ClassNone, [2]int{1, 0}},
		"404, then good":     {fail(404), good, oci.ClassNone, [2]int{1, 1}},
		"429, then good":     {fail(429), good, oci.ClassNone, [2]int{1, 1}},
		"403, then good":     {fail(403), good, oci.ClassNone, [2]int{2, 1}}, // and a ping, which may tell of a token
		"501, then good":     {fail(501), good, oci.ClassNone, [2]int{1, 1}},
		"503, then good":     {fail(503), good, oci.ClassNone, [2]int{3, 1}},
		"cut, then good":     {cut, good, oci.ClassNone, [2]int{3, 1}},
		"web page, then ok":  {page, good, oci.ClassNone, [2]int{1, 1}},
		"both 404":           {fail(404), fail(404), oci.ClassNotFound, [2]int{1, 1}},
		"404 and 410":        {fail(404), fail(410), oci.ClassNotFound, [2]int{1, 1}},
		"404, then 501":      {fail(404), fail(501), oci.ClassStatus, [2]int{1, 1}},
		"501, then 404":      {fail(501), fail(404), oci.ClassStatus, [2]int{1, 1}},
		"429, then 404":      {fail(429), fail(404), oci.ClassRateLimited, [2]int{1, 1}},
		"web page, then 404": {page, fail(404), oci.ClassNotRegistry, [2]int{1, 1}},
		"451, then 404":      {fail(451), fail(404), oci.ClassDenied, [2]int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				a, image := newServer(t, registrytest.Options{Network: n})
				b, _ := newServer(t, registrytest.Options{Network: n})
				a.Hook(test.first)
				b.Hook(test.second)
				c := newClientIn(t, n, a.URL(), func(o *Options) { o.URLs = append(o.URLs, mustURL(t, b.URL())) })
				m, err := c.Manifest(t.Context(), repo, tag(image.Tag))
				if oci.ClassOf(err) != test.class {
					t.Fatalf("class %q, want %q: %v", oci.ClassOf(err), test.class, err)
				}
				if err == nil && m.Digest != image.Index.Digest {
					t.Error("wrong manifest")
				}
				if got := [2]int{a.Count("", ""), b.Count("", "")}; got != test.asked {
					t.Errorf("requests %v, want %v", got, test.asked)
				}
			})
		})
	}
}

func TestUnreachableURLs(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	secure, _ := newServer(t, registrytest.Options{TLS: true})
	closed, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	resolver := names(t, map[string][]string{})
	for name, test := range map[string]struct {
		at    string
		class oci.Class
	}{
		"refused":      {"http://" + closed, oci.ClassConnect},
		"no such name": {"http://nowhere.test", oci.ClassDNS},
		"untrusted":    {secure.URL(), oci.ClassTLS},
		"TLS to plain": {strings.Replace(s.URL(), "http:", "https:", 1), oci.ClassTLS},
	} {
		t.Run(name, func(t *testing.T) {
			resolved := func(o *Options) { o.seams.Resolver = resolver }
			second := func(o *Options) { o.URLs = append(o.URLs, mustURL(t, s.URL())) }
			wantUnreachable(t, image, test.at, test.class, newClient(t, test.at, resolved), newClient(t, test.at, resolved, second))
		})
	}
}

func TestSilentURLs(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, image := newServer(t, registrytest.Options{Network: n})
				silent := n.Listen()
				defer silent.Close()
				at := scheme + "://" + silent.Addr().String()
				second := func(o *Options) { o.URLs = append(o.URLs, mustURL(t, s.URL())) }
				wantUnreachable(t, image, at, oci.ClassTimeout, newClientIn(t, n, at), newClientIn(t, n, at, second))
			})
		})
	}
}

// wantUnreachable asks a client of a URL that cannot be reached, and one that has
// another URL, too.
func wantUnreachable(t *testing.T, image registrytest.Image, at string, class oci.Class, alone, both *Client) {
	t.Helper()
	_, err := alone.Manifest(t.Context(), repo, tag(image.Tag))
	e := wantClass(t, err, class)
	if want := map[oci.Class]int{oci.ClassTimeout: 504}[class]; e.Status != max(want, 502) {
		t.Errorf("status %d", e.Status)
	}
	if !strings.Contains(e.Message, mustURL(t, at).Hostname()) {
		t.Errorf("message %q", e.Message)
	}
	if _, err := both.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Errorf("with a second URL: %v", err)
	}
}

func TestSilentURLLeavesTimeForTheNext(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		silent := n.Listen()
		defer silent.Close()
		s, image := newServer(t, registrytest.Options{Network: n})
		c := newClientIn(t, n, "http://"+silent.Addr().String(), func(o *Options) {
			o.URLs, o.Timeouts.Operation = append(o.URLs, mustURL(t, s.URL())), 600*time.Millisecond
		})
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestRequestsToAnOpenRegistryRunTogether(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{})
	c := newClient(t, s.URL())
	get := func() {
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Error(err)
		}
	}
	get()
	const n = 10
	var together sync.WaitGroup
	together.Add(n)
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		together.Done()
		together.Wait() // for all of them, or for ever
		next(w, r)
	})
	var wg sync.WaitGroup
	for range n {
		wg.Go(get)
	}
	wg.Wait()
}

func TestUnreachableURLComesLast(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		a, image := newServer(t, registrytest.Options{Network: n})
		b, _ := newServer(t, registrytest.Options{Network: n})
		resume := a.Pause()
		now := newClock()
		c := newClientIn(t, n, a.URL(), func(o *Options) { o.URLs, o.Now = append(o.URLs, mustURL(t, b.URL())), now.Now })
		get := func() (first, second int) {
			t.Helper()
			a.Reset()
			b.Reset()
			if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Fatal(err)
			}
			return a.Count("", ""), b.Count("", "")
		}
		if first, second := get(); first != 3 || second != 1 {
			t.Errorf("%d and %d requests while the first is down", first, second)
		}
		if first, second := get(); first != 0 || second != 1 {
			t.Errorf("%d and %d requests soon after", first, second)
		}
		resume()
		now.add(downFor)
		if first, second := get(); first != 1 || second != 0 {
			t.Errorf("%d and %d requests when it is back", first, second)
		}
	})
}

func TestFailuresAreLoggedOnce(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"})
	var out bytes.Buffer
	c := newClient(t, s.URL(), func(o *Options) { o.Logger = slog.New(slog.NewJSONHandler(&out, nil)) })
	for range 3 {
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		wantClass(t, err, oci.ClassDenied)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 1 || !strings.Contains(out.String(), `"class":"denied"`) {
		t.Errorf("%d lines: %s", lines, &out)
	}
}

// Servers that do not speak HTTP, or speak it badly.
func TestNoHTTP(t *testing.T) {
	t.Parallel()
	for answer, class := range map[string]oci.Class{
		"SSH-2.0-canary\r\n":                            oci.ClassNotRegistry,
		"HTTP/1.1 2x0 canary\r\n\r\n":                   oci.ClassNotRegistry,
		"HTTP/1.1 200 OK\r\ncanary\r\n\r\n":             oci.ClassNotRegistry,
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n": oci.ClassConnect,
		"": oci.ClassConnect,
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("canary", 20_000) + "\r\n\r\n": oci.ClassConnect,
	} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, answer)
				_ = conn.Close()
			}
		}()
		_, err = newClient(t, "http://"+listener.Addr().String()).Manifest(t.Context(), repo, tag("1"))
		if oci.ClassOf(err) != class || strings.Contains(fmt.Sprint(err), "canary") {
			t.Errorf("%.30q: %v", answer, err)
		}
		_ = listener.Close()
	}
}

func TestOwnAuthority(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{TLS: true})
	s.TLSConfig().ClientAuth = tls.RequireAnyClientCert
	c := newClient(t, s.URL(), func(o *Options) { o.RootCAs = s.CertPool() })
	_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
	wantClass(t, err, oci.ClassTLS)
	c = newClient(t, s.URL(), func(o *Options) {
		o.RootCAs, o.Certificates = s.CertPool(), s.TLSConfig().Certificates
	})
	if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
		t.Fatal(err)
	}
}

func TestRetries(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		failures int32
		status   int // 0 = cut
		tries    int
		class    oci.Class
	}{
		"503 twice":    {2, 503, 3, oci.ClassNone},
		"502 for ever": {99, 502, 3, oci.ClassStatus},
		"504 once":     {1, 504, 2, oci.ClassNone},
		"500 once":     {1, 500, 2, oci.ClassNone},
		"cut once":     {1, 0, 2, oci.ClassNone},
		"cut for ever": {99, 0, 3, oci.ClassConnect},
		"429":          {99, 429, 1, oci.ClassRateLimited},
		"400":          {99, 400, 1, oci.ClassStatus},
		"404":          {99, 404, 1, oci.ClassNotFound},
		"410":          {99, 410, 1, oci.ClassNotFound},
		"451":          {99, 451, 1, oci.ClassDenied},
		"204":          {99, 204, 1, oci.ClassStatus},
		"206":          {99, 206, 1, oci.ClassStatus},
		"226":          {99, 226, 1, oci.ClassStatus},
		"304":          {99, 304, 1, oci.ClassRedirect},
		"505":          {99, 505, 1, oci.ClassStatus},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, image := newServer(t, registrytest.Options{Network: n})
				var asked atomic.Int32
				s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					switch {
					case asked.Add(1) > test.failures:
						next(w, r)
					case test.status == 0:
						panic(http.ErrAbortHandler)
					default:
						w.WriteHeader(test.status)
					}
				})
				c := newClientIn(t, n, s.URL())
				_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
				if got := oci.ClassOf(err); got != test.class {
					t.Errorf("class %q, want %q: %v", got, test.class, err)
				}
				if err != nil && oci.AsError(err).UpstreamStatus != test.status {
					t.Errorf("upstream status %d", oci.AsError(err).UpstreamStatus)
				}
				if got := s.Count("", ""); got != test.tries {
					t.Errorf("%d tries, want %d", got, test.tries)
				}
			})
		})
	}
}

func TestOperationEndsInTime(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		block, _ := registrytest.Hold(t)
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if r.Method == http.MethodGet {
				// The header comes, the rest never does.
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(http.StatusOK)
				_ = http.NewResponseController(w).Flush()
				<-block
			}
			next(w, r)
		})
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Operation = 50 * time.Millisecond })
		_, err := c.Manifest(t.Context(), repo, tag(image.Tag))
		wantClass(t, err, oci.ClassTimeout)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		c = newClientIn(t, n, s.URL())
		_, err = c.Manifest(ctx, repo, tag(image.Tag))
		wantClass(t, err, oci.ClassTimeout)
		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		_, err = c.Manifest(ctx, repo, tag(image.Tag))
		wantClass(t, err, oci.ClassCanceled)
		if n := s.Count("", ""); n != 3 {
			t.Errorf("%d requests for three operations", n)
		}
	})
}
