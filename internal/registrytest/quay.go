package registrytest

import (
	"net/http"
	"time"
)

// quay is the site, and the registry that people run themselves, which writes whole
// URLs into its links. A public repository needs no token; what is missing looks
// like what is refused. The ping is challenged even where it is answered.
func quay() []Profile {
	site := Profile{
		Name: "quay.io",
		Auth: Authority{
			Open: true, HidesMissing: true,
			Ping: Reply{Status: http.StatusUnauthorized, Type: html, Body: "true"}.with(`Bearer realm="{self}/v2/auth",service="quay.io"`),
			Pull: Reply{
				Status: http.StatusUnauthorized,
				Body:   `{"errors":[{"code":"UNAUTHORIZED","message":"access to the requested resource is not authorized","detail":{}}]}`,
			}.with(`Bearer realm="{self}/v2/auth",service="quay.io",scope="repository:{name}:pull"`),
			Tokens: &Tokens{
				Path: "/v2/auth", Answer: `{"token":"{value}"}`, Life: time.Hour, NoScope: unauthorized(),
				Actions: []string{"pull", "push", "pull,push", "*"},
			},
		},
		Welcome: Reply{Status: http.StatusOK, Type: html, Body: "true"}.with(`Bearer realm="{self}/v2/auth",service="quay.io"`),
		Then: []Step{
			KnownSubjects(problem(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")),
			Dress(Match{Kind: "blobs", Method: http.MethodHead}, map[string]string{"Cache-Control": "max-age=31436000"}),
			Redirect{
				Kind: "blobs", Method: http.MethodGet, Status: http.StatusFound, To: "/quayio-production-s3/sha256/{hex}?X-Amz-Expires=600&X-Amz-Signature={id}",
				Type: html, Body: "<!doctype html>\n<title>Redirecting...</title>\n",
				Header: map[string]string{"Docker-Content-Digest": "{digest}", "Accept-Ranges": "bytes", "Cache-Control": "max-age=31536000"},
				Answer: map[string]string{"Content-Type": "binary/octet-stream", "Etag": `"{id}-1"`},
			}.Step,
		},
		Tags: TagList{Page: 100, Max: 100, Link: `</v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
	}
	site.Auth.Denied = site.Auth.Pull
	own := site
	own.Name = "quay"
	own.Tags.Link = `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`
	return []Profile{site, own}
}
