package registrytest

import "net/http"

// nexus is Nexus with its realm of bearer tokens, and without. The scope of the
// challenge is a star, the service is the realm, the token is good for everything,
// links are whole URLs. HEAD of a manifest was seen to answer 404, as a web page.
func nexus() []Profile {
	const bearer = `Bearer realm="{self}/v2/token",service="{self}/v2/token"`
	refused := problem(http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized")
	tokens := Profile{
		Name: "nexus",
		Auth: Authority{
			Basic: true,
			Ping:  refused.with(bearer), Pull: refused.with(bearer + `,scope="repository:*:pull"`),
			Denied: refused.with(bearer + `,scope="repository:*:pull"`),
			Tokens: &Tokens{Path: "/v2/token", Answer: `{"token":"{value}"}`, Prefix: "DockerToken.", Unbound: true},
		},
		Then: []Step{
			Say(Match{Kind: "manifests", Method: http.MethodHead}, Reply{Status: http.StatusNotFound, Type: html}),
			noReferrers,
		},
		Missing:   map[string]Reply{"tags": problem(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")},
		Tags:      TagList{Link: `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
	basic := tokens
	basic.Name = "nexus-basic"
	challenge := refused.with(`BASIC realm="Sonatype Nexus Repository Manager"`)
	basic.Auth = Authority{Basic: true, Pull: challenge, Denied: challenge}
	basic.Then = []Step{noReferrers}
	return []Profile{tokens, basic}
}
