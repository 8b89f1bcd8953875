package registrytest

import (
	"net/http"
	"time"
)

// google is Artifact Registry: it answers for public repositories without a token,
// though not to a ping, names no service there, refuses tokens with 403 and a
// missing repository with 404 at the token server, pays no attention to pages, and
// redirects to a path of its own.
func google() []Profile {
	return []Profile{artifactRegistry("pkg.dev", "{name}", false)}
}

func artifactRegistry(name, scope string, strict bool) Profile {
	const bearer = `Bearer realm="{self}/v2/token"`
	denied := problem(http.StatusForbidden, "DENIED",
		`Unauthenticated request. Unauthenticated requests do not have permission "artifactregistry.repositories.downloadArtifacts" (or it may not exist)`)
	return Profile{
		Name: name, Naming: "project/%s/%s",
		Auth: Authority{
			Open: !strict, HidesMissing: true, Basic: true,
			Ping: problem(http.StatusUnauthorized, "UNAUTHORIZED", "not authenticated: No credential was supplied.").with(bearer),
			Pull: problem(http.StatusUnauthorized, "UNAUTHORIZED", "not authenticated: No valid credential was supplied.").
				with(bearer + `,service="{host}",scope="repository:` + scope + `:pull"`),
			Stale:  problem(http.StatusUnauthorized, "UNAUTHORIZED", "No valid credential was supplied."),
			Denied: denied,
			Tokens: &Tokens{
				Path: "/v2/token", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 12 * time.Hour, Unbound: true, Refused: denied,
				Denied:  problem(http.StatusForbidden, "DENIED", `Permission "artifactregistry.repositories.downloadArtifacts" denied on resource (or it may not exist)`),
				Unknown: problem(http.StatusNotFound, "NAME_UNKNOWN", "Repository not found"),
			},
		},
		Missing: map[string]Reply{
			"manifests": {Status: http.StatusNotFound, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"Failed to fetch \"{reference}\""}]}`},
		},
		Then: []Step{
			Redirect{
				Kind: "blobs", Status: http.StatusFound, Home: true, Type: "application/json", Body: `{"errors":[]}`,
				To: "/artifacts-downloads/namespaces/project/repositories/r/downloads/{id}", Unsigned: true,
				Header: map[string]string{"Cache-Control": "private"},
			}.Step,
		},
		Tags: TagList{Ignored: true, Member: `,"child":[],"manifest":{}`},
	}
}

// kubernetes is registry.k8s.io: it holds nothing. Blobs lie in a bucket whose URLs
// are not signed, everything else at Artifact Registry, and the query is lost on the
// way there.
func kubernetes() Profile {
	const inner = "/v2/k8s-artifacts-prod/images/"
	abroad := artifactRegistry("pkg.dev", "k8s-artifacts-prod/images/{name}", false)
	abroad.AllPublic, abroad.Auth.HidesMissing = true, false // all of it is one repository there
	return Profile{
		Name: "registry.k8s.io", AllPublic: true, Abroad: &abroad, Inner: inner,
		First: []Step{
			Say(Match{Kind: "ping"}, Reply{Status: http.StatusOK, Type: plain}),
			Redirect{Kind: "blobs", To: "/containers/images/sha256:{hex}", Unsigned: true}.Step,
			Elsewhere(Match{}, true),
		},
		Tags: abroad.Tags,
	}
}
