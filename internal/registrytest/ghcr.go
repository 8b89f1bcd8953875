package registrytest

import "net/http"

// ghcr names a repository of nobody in the challenge of its ping, refuses tokens
// instead of giving empty ones, lists the oldest tags first, a hundred at a time
// with n=0 in the link, and sends who asks for referrers to a host that is busy.
func ghcr() Profile {
	const bearer = `Bearer realm="{self}/token",service="ghcr.io",scope="repository:`
	denied := problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	return Profile{
		Name: "ghcr.io",
		Auth: Authority{
			HidesMissing: true,
			Ping:         unauthorized(bearer + `user/image:pull"`),
			Pull:         unauthorized(bearer + `{name}:pull"`),
			Denied:       denied,
			Tokens:       &Tokens{Path: "/token", Answer: `{"token":"{value}"}`, Refused: denied, Denied: denied},
		},
		First: []Step{
			Say(Match{Kind: "ping", Method: http.MethodHead}, Reply{Status: http.StatusMethodNotAllowed}),
		},
		Then: []Step{
			Dress(Match{Kind: "manifests"}, map[string]string{"Etag": `"{digest}"`, "X-Github-Request-Id": "1:2:3:4:5"}),
			WantsType(Match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI index found, but Accept header does not support OCI indexes")),
			Redirect{Kind: "blobs", To: "/ghcr1/blobs/sha256:{hex}?se=2026-01-01T00%3A00%3A00Z&sig={id}&sp=r&spr=https&sr=b&sv=2019-12-12"}.Step,
			referrersElsewhere,
		},
		Tags:      TagList{Order: OldestFirst, Page: 100, Fixed: true, Link: `</v2/{name}/tags/list?last={last}&n=0>; rel="next"`},
		Referrers: ReferrersTag,
	}
}

func referrersElsewhere(v *Visit, next func(*Visit)) {
	if v.kind != "referrers" {
		next(v)
		return
	}
	v.send(http.StatusSeeOther, false, "/-/v2/packages/container/package/{name}%2Freferrers%2Fsha256?{id}",
		link{kind: v.kind, reply: Reply{Status: http.StatusTooManyRequests, Type: html, Body: "<html>Too many requests</html>"}}, Reply{})
}
