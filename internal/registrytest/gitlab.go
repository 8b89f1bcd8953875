package registrytest

import (
	"net/http"
	"time"
)

// gitLab keeps its token server at another host. Who says nothing is refused there
// with 403, an account without the right gets a token that is good for nothing. The
// tag that stands in for the referrers of a digest answers with the subject itself.
func gitLab() Profile {
	const bearer = `Bearer realm="{token}/jwt/auth",service="container_registry"`
	return Profile{
		Name: "registry.gitlab",
		Auth: Authority{
			HidesMissing: true,
			Ping:         unauthorized(bearer), Pull: unauthorized(bearer + `,scope="repository:{name}:pull"`),
			Denied: unauthorized(bearer + `,scope="repository:{name}:pull",error="insufficient_scope"`),
			Tokens: &Tokens{
				Host: HostToken, Path: "/jwt/auth", Answer: `{"token":"{value}"}`, Life: 5 * time.Minute,
				Refused: problem(http.StatusForbidden, "DENIED", "access forbidden"),
			},
		},
		Missing: map[string]Reply{"blobs": problem(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")},
		Then: []Step{
			Redirect{Kind: "blobs", To: "/registry/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Expires=1200&X-Amz-Signature={id}"}.Step,
			noReferrers, TagIsSubject,
		},
		Tags:      TagList{Page: 100, Max: 1000, Null: true, Link: `</v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersNone,
	}
}
