package upstream

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// TestLocations: wherever a redirect leads, in whatever form it says so, it is followed
// as browsers and curl follow it.
func TestLocations(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"{cdn}/blob?x=1":               "cdn /blob?x=1",
		"//{cdnhost}/blob":             "cdn /blob",
		"HTTP://{cdnhost}/blob":        "cdn /blob",
		"{cdn}":                        "cdn /",
		"{cdn}?x=1#y":                  "cdn /?x=1",
		"{cdn}/a b?file=x y":           "cdn /a%20b?file=x%20y",
		`{cdn}/b?x="a b"&y=%20+`:       "cdn /b?x=%22a%20b%22&y=%20+",
		"{cdn}/ä?n=ä":                  "cdn /%C3%A4?n=%C3%A4",
		"{cdn}/%2F%zz?x=%zz":           "",
		" {cdn}/blob ":                 "cdn /blob",
		"/storage/blob?x=1":            "self /storage/blob?x=1",
		"../../../storage/blob":        "self /storage/blob",
		"?x=1":                         "self /v2/library/alpine/blobs/{digest}?x=1",
		"":                             "",
		"ftp://{cdnhost}/blob":         "",
		"http://user:pass@{cdnhost}/b": "",
		"javascript:alert(1)":          "",
	} {
		var got string
		digest := oci.Sum([]byte("blob"))
		answer := func(at string) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				got = at + " " + r.RequestURI
				_, _ = io.WriteString(w, "blob")
			}
		}
		cdn := script(t, answer("cdn"))
		fill := strings.NewReplacer("{cdn}", cdn.URL, "{cdnhost}", mustURL(t, cdn.URL).Host, "{digest}", digest.String()).Replace
		s := script(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/v2/") && r.URL.RawQuery == "" {
				w.Header()["Location"] = []string{fill(location)}
				w.WriteHeader(http.StatusTemporaryRedirect)
				return
			}
			answer("self")(w, r)
		})
		b, err := newClient(t, s.URL).Blob(t.Context(), repo, digest, 0, -1)
		if err == nil {
			_ = b.Close()
		}
		if (err == nil) != (want != "") || got != fill(want) {
			t.Errorf("%q leads to %q, %v, want %q", location, got, err, want)
		}
	}
}
