package registrytest

import (
	"net/http"
	"time"
)

// ecr are the public gallery and a private registry. The gallery has one token for
// everything, which it refuses with 400 once it has expired, and no HEAD for blobs.
// The private one knows Basic alone, tells no digest with a GET by tag, and takes no
// more than a thousand tags at a time.
func ecr() []Profile {
	gallery := Profile{
		Name: "public.ecr.aws", AllPublic: true,
		Auth: Authority{
			Pull:  unauthorized(`Bearer realm="{self}/token/",service="public.ecr.aws",scope="aws"`),
			Stale: problem(http.StatusBadRequest, "DENIED", "Your Authorization Token is invalid."),
			Tokens: &Tokens{
				Path: "/token/", Answer: `{"token":"{value}"}`, Life: time.Hour, Unbound: true,
			},
		},
		Then: []Step{
			Say(Match{Kind: "blobs", Method: http.MethodHead}, Reply{Status: http.StatusUnauthorized}),
			Redirect{Kind: "blobs", To: "/v2/0b1c2d/{id}?Expires=1800000000&Signature={id}"}.Step,
			noReferrers,
		},
		Missing: map[string]Reply{"": problem(http.StatusNotFound, "NAME_UNKNOWN", "The repository does not exist in the registry")},
		Tags:    TagList{Page: 1000, Max: 1000, Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`}, Referrers: ReferrersTag,
	}
	refused := Reply{Status: http.StatusUnauthorized, Type: plain, Body: "Not Authorized\n"}.
		with(`Basic realm="{self}/",service="ecr.amazonaws.com"`)
	private := Profile{
		Name: "dkr.ecr",
		Auth: Authority{Basic: true, Pull: refused},
		Then: []Step{
			Dress(Match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": ""}),
			AtMost(1000, problem(http.StatusMethodNotAllowed, "UNSUPPORTED",
				"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'")),
			Redirect{Kind: "blobs", Method: http.MethodGet, To: "/starport-layer-bucket/{hex}?X-Amz-SignedHeaders=host&X-Amz-Signature={id}"}.Step,
		},
		Missing: map[string]Reply{"": problem(http.StatusNotFound, "NAME_UNKNOWN", "The repository with name '{name}' does not exist in the registry with id 'A'")},
		Tags:    TagList{Page: 100, Max: 1000, Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
	return []Profile{gallery, private}
}
