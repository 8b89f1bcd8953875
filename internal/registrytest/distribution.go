package registrytest

import (
	"net/http"
	"time"
)

// distribution is registry:2, in its version 2.8, with a token server beside it and
// its blobs in S3: URLs are signed for the method, tags are in no order and all at
// once, and a manifest of OCI that is not asked for by its type is not found.
func distribution() Profile {
	const bearer = `Bearer realm="{token}/auth/token",service="registry"`
	const scope = `,scope="repository:{name}:pull"`
	return Profile{
		Name: "registry-2",
		Auth: Authority{
			Ping: unauthorized(bearer), Pull: unauthorized(bearer + scope),
			Stale:  unauthorized(bearer + scope + `,error="invalid_token"`),
			Denied: unauthorized(bearer + scope + `,error="insufficient_scope"`),
			Tokens: &Tokens{
				Host: HostToken, Path: "/auth/token", Life: 300 * time.Second,
				Answer: `{"token":"{value}","access_token":"{value}","expires_in":{life},"issued_at":"{utc}"}`,
			},
		},
		Then: []Step{
			Dress(Match{Kind: "manifests"}, map[string]string{"Etag": `"{digest}"`}),
			WantsType(Match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests")),
			Redirect{Kind: "blobs", To: "/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Expires=1200&X-Amz-Signature={id}"}.Step,
			noReferrers,
		},
		Missing:   map[string]Reply{"tags": problem(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")},
		Tags:      TagList{Order: ShuffledTags, Ignored: true},
		Referrers: ReferrersTag,
	}
}
