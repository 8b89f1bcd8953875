package upstream

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestHostileManifests(t *testing.T) {
	index := ocispec.MediaTypeImageIndex
	good := oci.Sum([]byte(emptyIndex)).String()
	many := `{"schemaVersion":2,"layers":[` + strings.Repeat(`{},`, 20_000) + `{}]}`
	for name, test := range map[string]struct {
		contentType, digest, encoding, body string
		ref                                 string
		class                               oci.Class
	}{
		"good":                   {index, good, "", emptyIndex, "1", oci.ClassNone},
		"good by digest":         {index, good, "", emptyIndex, good, oci.ClassNone},
		"no digest":              {index, "", "", emptyIndex, "1", oci.ClassNone},
		"digest is none":         {index, "md5:abc", "", emptyIndex, "1", oci.ClassNone},
		"no type":                {"", good, "", emptyIndex, "1", oci.ClassNone},
		"plain type":             {"text/plain; charset=utf-8", good, "", emptyIndex, "1", oci.ClassNone},
		"type with parameter":    {index + "; charset=utf-8", good, "", emptyIndex, "1", oci.ClassNone},
		"identity":               {index, good, "identity", emptyIndex, "1", oci.ClassNone},
		"header lies":            {index, oci.Sum([]byte("x")).String(), "", emptyIndex, "1", oci.ClassDigest},
		"header lies, by digest": {index, oci.Sum([]byte("x")).String(), "", emptyIndex, good, oci.ClassDigest},
		"other bytes":            {index, "", "", emptyIndex + " ", good, oci.ClassDigest},
		"both agree, both wrong": {index, oci.Sum([]byte(emptyIndex + " ")).String(), "", emptyIndex + " ", good, oci.ClassDigest},
		"another type":           {ocispec.MediaTypeImageManifest, good, "", emptyIndex, "1", oci.ClassNotRegistry},
		"HTML":                   {"text/html", "", "", "<html>", "1", oci.ClassNotRegistry},
		"HTML without a type":    {"application/json", "", "", "<html>", "1", oci.ClassNotRegistry},
		"HTML with the digest":   {"text/html; charset=utf-8", good, "", emptyIndex, good, oci.ClassNotRegistry},
		"error with 200":         {"application/json", "", "", `{"errors":[]}`, "1", oci.ClassNotRegistry},
		"empty":                  {index, "", "", "", "1", oci.ClassNotRegistry},
		"array":                  {index, "", "", "[]", "1", oci.ClassNotRegistry},
		"trailing junk":          {index, "", "", emptyIndex + "{}", "1", oci.ClassNotRegistry},
		"byte order mark":        {index, "", "", "\ufeff" + emptyIndex, "1", oci.ClassNotRegistry},
		"depth": {
			index, "", "", strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), "1",
			oci.ClassNotRegistry,
		},
		"ambiguous":        {index, "", "", `{"manifests":[],"layers":[]}`, "1", oci.ClassNotRegistry},
		"many descriptors": {ocispec.MediaTypeImageManifest, "", "", many, "1", oci.ClassNotRegistry},
		"gzip":             {index, good, "gzip", emptyIndex, "1", oci.ClassEncoding},
		"4 MiB":            {index, "", "", emptyIndex + strings.Repeat(" ", 4<<20-len(emptyIndex)), "1", oci.ClassNone},
		"4 MiB and 1":      {index, "", "", emptyIndex + strings.Repeat(" ", 4<<20-len(emptyIndex)+1), "1", oci.ClassLength},
	} {
		for _, chunked := range []bool{false, true} {
			s := script(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", test.contentType)
				w.Header().Set("Docker-Content-Digest", test.digest)
				if test.encoding != "" {
					w.Header().Set("Content-Encoding", test.encoding)
				}
				if !chunked {
					w.Header().Set("Content-Length", strconv.Itoa(len(test.body)))
				} else {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = io.WriteString(w, test.body)
			})
			ref, err := oci.ParseReference(test.ref)
			if err != nil {
				t.Fatal(err)
			}
			m, err := newClient(t, s.URL).Manifest(t.Context(), repo, ref)
			if oci.ClassOf(err) != test.class {
				t.Errorf("%s: class %q, want %q: %v", name, oci.ClassOf(err), test.class, err)
			}
			if err == nil && (string(m.Bytes) != test.body || !oci.Verify(m.Digest, m.Bytes) || m.MediaType != index) {
				t.Errorf("%s: %s %s", name, m.MediaType, m.Digest)
			}
			if e := oci.AsError(err); err != nil && (strings.Contains(e.Message, "<html>") || e.Status != 502) {
				t.Errorf("%s: %d %q", name, e.Status, e.Message)
			}
			s.Close()
		}
	}
}

func TestSHA512(t *testing.T) {
	sum := sha512.Sum512([]byte(emptyIndex))
	d := digest.Digest("sha512:" + hex.EncodeToString(sum[:]))
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/"+d.String()) {
			w.Header().Set("Docker-Content-Digest", d.String())
		}
		sendIndex(w)
	})
	c := newClient(t, s.URL)
	for _, ref := range []oci.Reference{{Tag: "1"}, {Digest: d}} {
		if m, err := c.Manifest(t.Context(), repo, ref); err != nil || m.Digest != d {
			t.Errorf("%s: %s, %v", ref, m.Digest, err)
		}
	}
}

func TestHeadManifest(t *testing.T) {
	d := oci.Sum([]byte(emptyIndex)).String()
	for name, test := range map[string]struct {
		status                      int
		contentType, digest, length string
		ref                         string
		known                       bool
		class                       oci.Class
	}{
		"all":                   {200, ocispec.MediaTypeImageIndex, d, "70", "1", true, ""},
		"by digest, no header":  {200, ocispec.MediaTypeImageIndex, "", "70", d, true, ""},
		"no digest":             {200, ocispec.MediaTypeImageIndex, "", "70", "1", false, ""},
		"invalid digest":        {200, ocispec.MediaTypeImageIndex, "sha256:x", "70", "1", false, ""},
		"no length":             {200, ocispec.MediaTypeImageIndex, d, "", "1", false, ""},
		"no type":               {200, "", d, "70", "1", false, ""},
		"plain type":            {200, "application/json", d, "70", "1", false, ""},
		"405":                   {405, "", "", "0", "1", false, ""},
		"404":                   {404, "", "", "0", "1", false, oci.ClassNotFound},
		"another digest":        {200, ocispec.MediaTypeImageIndex, oci.Sum(nil).String(), "70", d, false, oci.ClassDigest},
		"web page":              {200, "text/html", d, "70", "1", false, oci.ClassNotRegistry},
		"greater than manifest": {200, ocispec.MediaTypeImageIndex, d, "4194305", "1", false, oci.ClassLength},
	} {
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			for _, accepted := range []string{
				ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, oci.MediaTypeDockerManifest,
				oci.MediaTypeDockerManifestList, oci.MediaTypeDockerSchema1Signed,
			} {
				if !strings.Contains(r.Header.Get("Accept"), accepted) {
					t.Errorf("%s is not accepted: %q", accepted, r.Header.Get("Accept"))
				}
			}
			w.Header()["Content-Type"] = []string{test.contentType}
			w.Header().Set("Docker-Content-Digest", test.digest)
			if test.length != "" {
				w.Header().Set("Content-Length", test.length)
			} else {
				w.Header().Set("Transfer-Encoding", "chunked")
			}
			w.WriteHeader(test.status)
		})
		ref, _ := oci.ParseReference(test.ref)
		got, err := newClient(t, s.URL).HeadManifest(t.Context(), repo, ref)
		if oci.ClassOf(err) != test.class || (got.Digest != "") != test.known {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if test.known && (got.Size != 70 || got.MediaType != ocispec.MediaTypeImageIndex || got.Digest.String() != d) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// registry.k8s.io answers every manifest request with a redirect to a host that
// may not like HEAD.
func TestHeadManifestElsewhere(t *testing.T) {
	for _, status := range []int{200, 401, 403} {
		elsewhere := script(t, func(w http.ResponseWriter, r *http.Request) {
			if status != 200 {
				w.WriteHeader(status)
				return
			}
			w.Header().Set("Docker-Content-Digest", oci.Sum([]byte(emptyIndex)).String())
			w.Header().Set("Content-Length", strconv.Itoa(len(emptyIndex)))
			sendIndex(w)
		})
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
		})
		got, err := newClient(t, s.URL).HeadManifest(t.Context(), repo, tag("1"))
		if err != nil || (got.Digest != "") != (status == 200) {
			t.Errorf("%d elsewhere: %+v, %v", status, got, err)
		}
	}
}

func TestErrorCodes(t *testing.T) {
	for body, want := range map[string]oci.Code{
		`{"errors":[{"code":"NAME_UNKNOWN"}]}`:     oci.CodeNameUnknown,
		`{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`: oci.CodeManifestUnknown,
		`{"errors":[{"code":"NOT_FOUND"}]}`:        oci.CodeManifestUnknown,
		`<html>`:                                   oci.CodeManifestUnknown,
		strings.Repeat("x", 1<<20):                 oci.CodeManifestUnknown,
	} {
		s := script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, body)
		})
		_, err := newClient(t, s.URL).Manifest(t.Context(), repo, tag("1"))
		if e := wantClass(t, err, oci.ClassNotFound); e.Code != want || e.Status != 404 {
			t.Errorf("%.40s: %+v", body, e)
		}
	}
}

func TestNoBodyAndNoQueryInErrors(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 429, 500, 418} {
		cdn := script(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "body-canary")
		})
		for _, redirect := range []bool{false, true} {
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				if redirect {
					http.Redirect(w, r, cdn.URL+"/x?signature=query-canary", http.StatusFound)
					return
				}
				w.WriteHeader(status)
				_, _ = io.WriteString(w, `{"errors":[{"code":"X","message":"body-canary"}]}`)
			})
			c := newClient(t, s.URL)
			_, err := c.Blob(t.Context(), repo, oci.Sum(nil), 0, -1)
			_, err2 := c.Manifest(t.Context(), repo, tag("1"))
			if text := fmt.Sprintf("%+v %+v %#v", err, err2, err); strings.Contains(text, "canary") {
				t.Errorf("%d: %s", status, text)
			}
		}
	}
	cdn := script(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, cdn.URL+"/x?signature=query-canary", http.StatusFound)
	})
	_, err := newClient(t, s.URL).Blob(t.Context(), repo, oci.Sum(nil), 0, -1)
	if wantClass(t, err, oci.ClassConnect); strings.Contains(err.Error(), "canary") {
		t.Error(err)
	}
}

func TestReferrers(t *testing.T) {
	for _, without := range []bool{false, true} {
		s, image := newServer(t, registrytest.Options{Auth: registrytest.AuthBearer, NoReferrers: without})
		subject := image.Index
		raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/x","config":{"mediaType":%q,"digest":%q,"size":2},"layers":[],"subject":{"mediaType":%q,"digest":%q,"size":%d}}`,
			ocispec.MediaTypeImageManifest, ocispec.MediaTypeEmptyJSON, ocispec.DescriptorEmptyJSON.Digest, subject.MediaType, subject.Digest, subject.Size)
		signature := s.PutManifest(repo, "", ocispec.MediaTypeImageManifest, []byte(raw))
		c := newClient(t, s.URL())
		if without {
			found, err := c.Referrers(t.Context(), repo, subject.Digest)
			if err != nil || len(found) != 0 {
				t.Errorf("without a tag: %v, %v", found, err)
			}
			s.PutManifest(repo, oci.ReferrersTag(subject.Digest), ocispec.MediaTypeImageIndex, fmt.Appendf(nil,
				`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"artifactType":"application/x"}]}`,
				ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, signature, len(raw)))
		}
		found, err := c.Referrers(t.Context(), repo, subject.Digest)
		if err != nil || len(found) != 1 || found[0].Digest != signature || found[0].ArtifactType != "application/x" {
			t.Errorf("without API %v: %+v, %v", without, found, err)
		}
		if n := s.Accepted("", "referrers"); (n == 1) == without {
			t.Errorf("%d requests to the API", n)
		}
	}
}

func TestReferrersAnswers(t *testing.T) {
	index := func(n int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":%q,"size":1}]}`, oci.Sum([]byte{byte(n)}))
	}
	for name, test := range map[string]struct {
		status            int
		contentType, body string
		pages             int
		want              int
		class             oci.Class
		fallback          bool
	}{
		"pages":       {200, ocispec.MediaTypeImageIndex, "", 3, 3, "", false},
		"endless":     {200, ocispec.MediaTypeImageIndex, "", 1 << 30, 0, oci.ClassNotRegistry, false},
		"404":         {404, "", "", 0, 0, "", true},
		"400":         {400, "", "", 0, 0, "", true},
		"405":         {405, "", "", 0, 0, "", true},
		"406":         {406, "", "", 0, 0, "", true},
		"JSON":        {200, "application/json", "{}", 0, 0, "", true},
		"web page":    {200, "text/html", "<html>", 0, 0, "", true},
		"403":         {403, "", "", 0, 0, "", true},
		"501":         {501, "", "", 0, 0, oci.ClassStatus, false},
		"broken JSON": {200, ocispec.MediaTypeImageIndex, "{", 0, 0, oci.ClassNotRegistry, false},
	} {
		var tagAsked bool
		page := 0
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/manifests/") {
				tagAsked = true
				w.WriteHeader(http.StatusNotFound)
				return
			}
			page++
			if page < test.pages {
				w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page))
			}
			w.Header().Set("Content-Type", test.contentType)
			w.WriteHeader(test.status)
			if test.pages > 0 {
				_, _ = io.WriteString(w, index(page))
				return
			}
			_, _ = io.WriteString(w, test.body)
		})
		found, err := newClient(t, s.URL).Referrers(t.Context(), repo, oci.Sum(nil))
		if oci.ClassOf(err) != test.class || len(found) != test.want || tagAsked != test.fallback {
			t.Errorf("%s: %d found, tag asked %v, %v", name, len(found), tagAsked, err)
		}
	}
}
