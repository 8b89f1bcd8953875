package registrytest

import "net/http"

// gitea offers two schemes, names a star for a scope, and gives one token for
// everything. With direct serving it redirects manifests, too, with the length of
// what they lead to and no body. Every page that has a tag has a link.
func gitea() Profile {
	challenge := unauthorized(`Bearer realm="{self}/v2/token",service="container_registry",scope="*"`, `Basic realm="Gitea Container Registry"`)
	return Profile{
		Name: "gitea",
		Auth: Authority{
			Basic: true, Pull: challenge, Denied: challenge,
			Tokens: &Tokens{Path: "/v2/token", Answer: `{"token":"{value}"}`, Unbound: true},
		},
		Missing: map[string]Reply{"tags": problem(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")},
		Then: []Step{
			Dress(Match{Kind: "blobs", Method: http.MethodHead}, map[string]string{"Content-Type": ""}),
			Redirect{
				Method: http.MethodGet, To: "/packages/{hex}?X-Amz-Signature={id}",
				Header: map[string]string{"Content-Length": "{size}"},
			}.Step,
			noReferrers,
		},
		Tags:      TagList{Always: true, Link: `</v2/{name}/tags/list?last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
}
