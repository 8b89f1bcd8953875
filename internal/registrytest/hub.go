package registrytest

import (
	"net/http"
	"time"
)

const (
	octets = "application/octet-stream"
	html   = "text/html; charset=utf-8"
	plain  = "text/plain; charset=utf-8"
)

// unauthorized is the usual 401.
func unauthorized(challenges ...string) Reply {
	return problem(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required").with(challenges...)
}

// noReferrers is a route that is not there.
func noReferrers(v *Visit, next func(*Visit)) {
	Say(Match{Kind: "referrers"}, Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found\n"})(v, next)
}

// dockerHub gives a token to everybody, with nothing in it where there is no right:
// the registry itself refuses then, and what is missing is refused, too. Its blobs
// lie at hosts whose URLs may be signed for the method.
func dockerHub() Profile {
	const bearer = `Bearer realm="{token}/token",service="registry.docker.io"`
	denied := `,scope="repository:{name}:pull",error="insufficient_scope"`
	return Profile{
		Name: "docker.io",
		Auth: Authority{
			HidesMissing: true,
			Ping:         unauthorized(bearer),
			Pull:         unauthorized(bearer + `,scope="repository:{name}:pull"`),
			Stale:        unauthorized(bearer + `,scope="repository:{name}:pull",error="invalid_token"`),
			Denied:       unauthorized(bearer + denied),
			Tokens: &Tokens{
				Host: HostToken, Path: "/token", Life: 300 * time.Second,
				Answer: `{"token":"{value}","access_token":"{value}","expires_in":{life},"issued_at":"{utc}"}`,
			},
		},
		Missing: map[string]Reply{
			"manifests": {Status: http.StatusNotFound, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":"unknown tag={reference}"}]}`},
		},
		Then: []Step{
			Dress(Match{Kind: "manifests"}, map[string]string{
				"Etag": `"{digest}"`, "Ratelimit-Limit": "100;w=3600", "Ratelimit-Remaining": "76;w=3600", "Docker-Ratelimit-Source": "192.0.2.1",
			}),
			Redirect{
				Kind: "blobs", To: "/registry-v2/docker/registry/v2/blobs/sha256/{hex}/data?verify={id}-sig",
				Answer: map[string]string{"Cache-Control": "public, max-age=14400", "Etag": `"{id}"`},
			}.Step,
		},
		Tags: TagList{Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
}
