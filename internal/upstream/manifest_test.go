package upstream

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

func TestHostileManifests(t *testing.T) {
	t.Parallel()
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
		"header lies":            {index, oci.Sum([]byte("x")).String(), "", emptyIndex, "1", oci.ClassNone},
		"header lies, by digest": {index, oci.Sum([]byte("x")).String(), "", emptyIndex, good, oci.ClassNone},
		"other bytes":            {index, "", "", emptyIndex + " ", good, oci.ClassDigest},
		"both agree, both wrong": {index, oci.Sum([]byte(emptyIndex + " ")).String(), "", emptyIndex + " ", good, oci.ClassDigest},
		"another type":           {ocispec.MediaTypeImageManifest, good, "", emptyIndex, "1", oci.ClassNotRegistry},
		"HTML":                   {"text/html", "", "", "<html>", "1", oci.ClassNotRegistry},
		"HTML without a type":    {"application/json", "", "", "<html>", "1", oci.ClassNotRegistry},
		"HTML with the digest":   {"text/html; charset=utf-8", good, "", emptyIndex, good, oci.ClassNone},
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
		"called gzip":      {index, good, "gzip", emptyIndex, "1", oci.ClassNone},
		"gzip":             {index, good, "gzip", "\x1f\x8b\x08", "1", oci.ClassNotRegistry},
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
	t.Parallel()
	sum := sha512.Sum512([]byte(emptyIndex))
	d := digest.Digest("sha512:" + hex.EncodeToString(sum[:]))
	var gets atomic.Int32
	s := script(t, func(w http.ResponseWriter, r *http.Request) {
		resolving := gets.Load() == 0 && r.Method == http.MethodGet
		if resolving {
			gets.Add(1)
			w.Header().Set("Docker-Content-Digest", oci.Sum([]byte(emptyIndex)).String())
		} else if !strings.HasSuffix(r.URL.Path, "/"+d.String()) {
			w.Header().Set("Docker-Content-Digest", d.String())
			w.Header().Set("Content-Length", strconv.Itoa(len(emptyIndex)))
		}
		sendIndex(w)
	})
	c := newClient(t, s.URL)
	got, m, err := c.Resolve(t.Context(), repo, tag("1"), func(digest.Digest) bool { return false })
	if err != nil || got.Digest != d || m == nil {
		t.Errorf("HEAD, and a GET whose header tells another algorithm: %+v, %v", got, err)
	}
	for _, ref := range []oci.Reference{{Tag: "1"}, {Digest: d}} {
		if m, err := c.Manifest(t.Context(), repo, ref); err != nil || m.Digest != d {
			t.Errorf("%s: %s, %v", ref, m.Digest, err)
		}
	}
}

// A HEAD that refuses, or tells too little, refuses nothing: a GET settles it. The
// next HEAD is not asked for then.
func TestGetSettlesManifest(t *testing.T) {
	t.Parallel()
	d := oci.Sum([]byte(emptyIndex)).String()
	for name, test := range map[string]struct {
		status                      int
		contentType, digest, length string
		ref                         string
		known                       bool
	}{
		"all":                   {200, ocispec.MediaTypeImageIndex, d, "88", "1", true},
		"by digest, no header":  {200, ocispec.MediaTypeImageIndex, "", "88", d, true},
		"no digest":             {200, ocispec.MediaTypeImageIndex, "", "88", "1", false},
		"invalid digest":        {200, ocispec.MediaTypeImageIndex, "sha256:x", "88", "1", false},
		"no length":             {200, ocispec.MediaTypeImageIndex, d, "", "1", false},
		"length 0":              {200, ocispec.MediaTypeImageIndex, d, "0", "1", false},
		"no type":               {200, "", d, "88", "1", false},
		"plain type":            {200, "application/json", d, "88", "1", false},
		"schema 1":              {200, oci.MediaTypeDockerSchema1Signed, d, "88", "1", false},
		"another digest":        {200, ocispec.MediaTypeImageIndex, oci.Sum(nil).String(), "88", d, false},
		"web page":              {200, "text/html", d, "88", "1", false},
		"greater than manifest": {200, ocispec.MediaTypeImageIndex, d, "4194305", "1", false},
		"204":                   {204, "", "", "", "1", false},
		"400":                   {400, "", "", "0", "1", false},
		"401":                   {401, "", "", "0", "1", false},
		"403":                   {403, "", "", "0", "1", false},
		"404":                   {404, "text/html", "", "1843", "1", false},
		"405":                   {405, "", "", "0", "1", false},
		"406":                   {406, "", "", "0", "1", false},
		"408":                   {408, "", "", "0", "1", false},
		"410":                   {410, "", "", "0", "1", false},
		"412":                   {412, "", "", "0", "1", false},
		"500":                   {500, "", "", "0", "1", false},
		"501":                   {501, "", "", "0", "1", false},
		"503":                   {503, "", "", "0", "1", false},
	} {
		t.Run(name, func(t *testing.T) {
			var heads, gets, pings atomic.Int32
			s := script(t, func(w http.ResponseWriter, r *http.Request) {
				accept := r.Header.Get("Accept")
				switch {
				case r.URL.Path == "/v2/":
					pings.Add(1)
					return
				case !strings.Contains(accept, ocispec.MediaTypeImageManifest), strings.Contains(accept, "*/*"), strings.Contains(accept, oci.MediaTypeDockerSchema1), strings.Contains(accept, "prettyjws"):
					t.Errorf("%s: Accept %q", r.Method, accept)
				}
				if r.Method == http.MethodGet {
					gets.Add(1)
					sendIndex(w)
					return
				}
				heads.Add(1)
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
			c := newClient(t, s.URL)
			for range 2 {
				got, m, err := c.Resolve(t.Context(), repo, ref, nil)
				if err != nil || got.Size != 88 || got.MediaType != ocispec.MediaTypeImageIndex || got.Digest.String() != d || (m == nil) != test.known {
					t.Fatalf("%+v, %v", got, err)
				}
			}
			want := [2]int32{1, 2}
			if test.known {
				want = [2]int32{2, 0}
			}
			if got := [2]int32{heads.Load(), gets.Load()}; got != want || pings.Load() > 1 {
				t.Errorf("%v HEADs and GETs, %d pings, want %v", got, pings.Load(), want)
			}
		})
	}
}

// What a GET refuses, too, is refused.
func TestGetRefusesManifest(t *testing.T) {
	t.Parallel()
	for status, class := range map[int]oci.Class{404: oci.ClassNotFound, 403: oci.ClassDenied, 410: oci.ClassNotFound, 400: oci.ClassStatus} {
		var heads, gets atomic.Int32
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/v2/":
			case r.Method == http.MethodHead:
				heads.Add(1)
				w.WriteHeader(status)
			default:
				gets.Add(1)
				w.WriteHeader(status)
			}
		})
		c := newClient(t, s.URL)
		for n := range int32(2) {
			_, err := headManifest(t.Context(), c, repo, tag("1"))
			wantClass(t, err, class)
			if heads.Load() != n+1 || gets.Load() != n+1 {
				t.Errorf("%d: %d HEADs, %d GETs", status, heads.Load(), gets.Load())
			}
		}
	}
}

// registry.k8s.io answers every manifest request with a redirect to a host that
// may not like HEAD.
func TestHeadManifestElsewhere(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 401, 403, 404} {
		elsewhere := script(t, func(w http.ResponseWriter, r *http.Request) {
			if status != 200 && r.Method == http.MethodHead {
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
		if got, err := headManifest(t.Context(), newClient(t, s.URL), repo, tag("1")); err != nil || got.Digest == "" {
			t.Errorf("%d elsewhere: %+v, %v", status, got, err)
		}
	}
}

func TestErrorCodes(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
		"pages":                        {200, ocispec.MediaTypeImageIndex, "", 3, 3, "", false},
		"endless":                      {200, ocispec.MediaTypeImageIndex, "", 1 << 30, 0, oci.ClassNotRegistry, false},
		"404":                          {404, "", "", 0, 0, "", true},
		"400":                          {400, "", "", 0, 0, "", true},
		"405":                          {405, "", "", 0, 0, "", true},
		"406":                          {406, "", "", 0, 0, "", true},
		"JSON":                         {200, "application/json", "{}", 0, 0, "", true},
		"web page":                     {200, "text/html", "<html>", 0, 0, "", true},
		"an index that is called JSON": {200, "application/json; charset=utf-8", index(1), 0, 1, "", false},
		"an index without a type":      {200, "", index(1), 0, 1, "", false},
		"an empty one":                 {200, "text/plain", `{"schemaVersion":2,"manifests":null}`, 0, 0, "", false},
		"a list of Docker's":           {200, "application/json", `{"schemaVersion":2,"mediaType":"` + oci.MediaTypeDockerManifestList + `","manifests":[]}`, 0, 0, "", true},
		"more than a list may have":    {200, "application/json", strings.Repeat(" ", 9<<20) + index(1), 0, 0, oci.ClassLength, false},
		"403":                          {403, "", "", 0, 0, "", true},
		"501":                          {501, "", "", 0, 0, oci.ClassStatus, false},
		"broken JSON":                  {200, ocispec.MediaTypeImageIndex, "{", 0, 0, oci.ClassNotRegistry, false},
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
