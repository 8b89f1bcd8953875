package upstream

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestHeadBlob(t *testing.T) {
	t.Parallel()
	s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, CDN: true})
	c := newClient(t, s.URL())
	layer := image.Platforms[0].Layers[0]
	if size, err := c.HeadBlob(t.Context(), repo, layer.Digest); err != nil || size != layer.Size {
		t.Errorf("size %d, %v", size, err)
	}
	if n := s.CountHost(registrytest.HostCDN, "", ""); n != 0 {
		t.Errorf("%d requests to the CDN", n)
	}
	_, err := c.HeadBlob(t.Context(), repo, oci.Sum(nil))
	if e := wantClass(t, err, oci.ClassNotFound); e.Code != oci.CodeBlobUnknown {
		t.Errorf("code %s", e.Code)
	}
}

func TestHeadBlobThatIsRefused(t *testing.T) {
	t.Parallel()
	for name, head := range map[string]func(http.ResponseWriter, *http.Request){
		"401": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"403": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"405": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://cdn.invalid/"+r.URL.Path, http.StatusTemporaryRedirect)
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, cdn := range []bool{false, true} {
				s, image := newServer(t, registrytest.Options{CDN: cdn, Auth: registrytest.AuthBearer})
				s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					if r.Method == http.MethodHead {
						head(w, r)
						return
					}
					next(w, r)
				})
				c := newClient(t, s.URL())
				for _, layer := range image.Platforms[0].Layers {
					if size, err := c.HeadBlob(t.Context(), repo, layer.Digest); err != nil || size != layer.Size {
						t.Errorf("size %d, %v", size, err)
					}
				}
				if n := s.Count(http.MethodHead, "blobs"); n > 2 {
					t.Errorf("%d HEADs of a registry that has none", n)
				}
				if n := s.BlobBytes(); n > 3 {
					t.Errorf("%d bytes to learn three sizes", n)
				}
				_, err := c.HeadBlob(t.Context(), repo, oci.Sum(nil))
				wantClass(t, err, oci.ClassNotFound)
			}
		})
	}
}

func TestProbeAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		header string
		size   int64
		class  oci.Class
	}{
		"part":          {206, "Content-Range: bytes 0-0/77", 77, ""},
		"size unknown":  {206, "Content-Range: bytes 0-0/*", -1, ""},
		"no range":      {206, "X: y", -1, ""},
		"whole":         {200, "Content-Length: 88", 88, ""},
		"empty blob":    {416, "Content-Range: bytes */0", 0, ""},
		"other 416":     {416, "Content-Range: bytes */9", -1, oci.ClassStatus},
		"still refused": {403, "X: y", -1, oci.ClassDenied},
		"web page":      {200, "Content-Type: text/html", -1, oci.ClassNotRegistry},
	} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			key, value, _ := strings.Cut(test.header, ": ")
			w.Header().Set(key, value)
			w.WriteHeader(test.status)
		})
		size, err := newClient(t, s.URL).HeadBlob(t.Context(), repo, oci.Sum(nil))
		if size != test.size && err == nil || oci.ClassOf(err) != test.class {
			t.Errorf("%s: %d, %v", name, size, err)
		}
	}
}
