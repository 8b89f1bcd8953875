package registrytest

import (
	"net/http"
	"time"
)

// pulp redirects blobs, GET and HEAD, to URLs that are signed for the method. Its
// tokens were issued in local time that calls itself UTC. A full page has a link even
// if it is the last one.
func pulp() Profile {
	const bearer = `Bearer realm="{token}/token/",service="{host}"`
	const scope = `,scope="repository:{name}:pull"`
	return Profile{
		Name: "pulp",
		Auth: Authority{
			Ping: unauthorized(bearer), Pull: unauthorized(bearer + scope),
			Stale:  unauthorized(bearer + scope + `,error="invalid_token"`),
			Denied: problem(http.StatusForbidden, "DENIED", "Access to the requested resource is denied"),
			Tokens: &Tokens{
				Host: HostToken, Path: "/token/", Life: 300 * time.Second, Needs: []string{"service"},
				Answer: `{"expires_in":{life},"issued_at":"{local}","token":"{value}","access_token":"{value}"}`,
			},
		},
		Missing: map[string]Reply{"": problem(http.StatusNotFound, "NAME_UNKNOWN", "Repository not found.")},
		Then: []Step{
			WantsType(Match{ByTag: true}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "Manifest not found.")),
			Redirect{
				Kind: "blobs", Status: http.StatusFound, To: "/pulp/container/{name}/blobs/{digest}?expires=1800000000&validate_token={id}",
				Type: html, Answer: map[string]string{"Docker-Content-Digest": "{digest}"},
			}.Step,
			noReferrers,
		},
		Tags:      TagList{Page: 100, Max: 1000, Full: true, Link: `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
}
