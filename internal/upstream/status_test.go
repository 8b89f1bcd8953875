package upstream

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Every status that is of no use has a class, in the error and as observed.
func TestUselessStatuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{101, 201, 202, 204, 205, 206, 208, 226, 299, 300, 304, 305, 306, 399, 402, 416, 418, 499, 501, 599, 600, 999} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			s := script(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
			})
			var mu sync.Mutex
			classes := map[string][]oci.Class{}
			c := newClient(t, s.URL, func(o *Options) {
				o.MaxFails = -1
				o.Observe = func(ob wire.Observation) {
					mu.Lock()
					defer mu.Unlock()
					classes[ob.Op] = append(classes[ob.Op], ob.Class)
				}
			})
			class := oci.ClassStatus
			if status/100 == 3 {
				class = oci.ClassRedirect
			}
			d := oci.Sum(nil)
			for k, err := range []error{
				second(headManifest(t.Context(), c, repo, tag("1"))),
				second(c.Manifest(t.Context(), repo, tag("1"))),
				second(c.HeadBlob(t.Context(), repo, d)),
				second(c.Blob(t.Context(), repo, d, 0, -1)),
				second(c.Tags(t.Context(), repo, oci.TagsCursor{})),
			} {
				if k != 2 || status != http.StatusPartialContent { // which a range may be answered with
					wantClass(t, err, class)
				}
			}
			// That a registry does not know what referrers are is a clear answer.
			if err := second(c.Referrers(t.Context(), repo, d)); status/100 != 4 {
				wantClass(t, err, class)
			} else if err != nil {
				t.Errorf("referrers: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			for op, seen := range classes {
				for _, got := range seen {
					if got != class && (op != wire.OpHeadBlob || status != http.StatusPartialContent) {
						t.Errorf("%s observed with class %q, want %q", op, got, class)
					}
				}
			}
		})
	}
}

// What a host behind a redirect lacks may well exist.
func TestNotFoundElsewhere(t *testing.T) {
	t.Parallel()
	text := func(code string) string { return `{"errors":[{"code":"` + code + `"}]}` }
	blob := func(t *testing.T, c *Client) error {
		return second(c.Blob(t.Context(), repo, oci.Sum([]byte("x")), 0, -1))
	}
	head := func(t *testing.T, c *Client) error {
		return second(c.HeadBlob(t.Context(), repo, oci.Sum([]byte("x"))))
	}
	manifest := func(t *testing.T, c *Client) error { return second(c.Manifest(t.Context(), repo, tag("1"))) }
	tags := func(t *testing.T, c *Client) error { return second(c.Tags(t.Context(), repo, oci.TagsCursor{})) }
	for name, test := range map[string]struct {
		do     func(*testing.T, *Client) error
		status int
		body   string
		class  oci.Class
		hits   int32
	}{
		"blob":               {blob, 404, "<Error><Code>NoSuchKey</Code></Error>", oci.ClassStatus, 2},
		"blob, gone":         {blob, 410, "", oci.ClassStatus, 2},
		"blob, document":     {blob, 404, text("BLOB_UNKNOWN"), oci.ClassNotFound, 2},
		"head blob":          {head, 404, "", oci.ClassStatus, 2},
		"manifest":           {manifest, 404, "<html>", oci.ClassStatus, 2},
		"manifest, other":    {manifest, 404, text("UNKNOWN"), oci.ClassStatus, 2},
		"manifest, document": {manifest, 404, text("MANIFEST_UNKNOWN"), oci.ClassNotFound, 1},
		"tags":               {tags, 404, "", oci.ClassStatus, 2},
		"tags, document":     {tags, 404, text("NAME_UNKNOWN"), oci.ClassNotFound, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var hits atomic.Int32
			elsewhere := script(t, func(w http.ResponseWriter, _ *http.Request) {
				hits.Add(1)
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
			})
			e := wantClass(t, test.do(t, newClient(t, s.URL)), test.class)
			if e.Status != map[oci.Class]int{oci.ClassNotFound: 404, oci.ClassStatus: 502}[test.class] {
				t.Errorf("status %d", e.Status)
			}
			if e.UpstreamStatus != test.status {
				t.Errorf("upstream status %d", e.UpstreamStatus)
			}
			if n := hits.Load(); n != test.hits {
				t.Errorf("%d requests to the other host, want %d", n, test.hits)
			}
		})
	}
}

// The next redirect may lead to a replica that has it.
func TestNotFoundAtOneReplica(t *testing.T) {
	t.Parallel()
	s := registrytest.New(t, registrytest.Options{CDN: true, Auth: registrytest.AuthBearer})
	d := s.PutBlob(repo, registrytest.Random(3, 1000))
	var n atomic.Int32
	s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
		if r.URL.Query().Get("signature") != "" && n.Add(1) == 1 {
			http.NotFound(w, r)
			return
		}
		next(w, r)
	})
	b, err := newClient(t, s.URL()).Blob(t.Context(), repo, d, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if cdn, registry := s.CountHost(registrytest.HostCDN, "", ""), s.Accepted("GET", "blobs"); cdn != 2 || registry != 2 {
		t.Errorf("%d requests to the CDN, %d to the registry", cdn, registry)
	}
}
