package registrytest

import (
	"net/http"
	"time"
)

// dockerHub gives a token to everybody, with nothing in it where there is no right:
// the registry itself refuses then, and what is missing is refused, too. Its blobs
// lie at hosts whose URLs may be signed for the method.
func dockerHub() Profile {
	auth := bearer(`Bearer realm="{token}/token",service="registry.docker.io"`, Tokens{
		Host: HostToken, Path: "/token", Life: 300 * time.Second,
		Answer: `{"token":"{value}","access_token":"{value}","expires_in":{life},"issued_at":"{utc}"}`,
	})
	auth.HidesMissing = true
	return Profile{
		Name: "docker.io", Auth: auth,
		Missing: map[string]Reply{
			"manifests": {Status: http.StatusNotFound, Body: `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":"unknown tag={reference}"}]}`},
		},
		Then: []step{
			dress(match{Kind: "manifests"}, map[string]string{
				"Etag": `"{digest}"`, "Ratelimit-Limit": "100;w=3600", "Ratelimit-Remaining": "76;w=3600", "Docker-Ratelimit-Source": "192.0.2.1",
			}),
			redirect{
				Kind: "blobs", To: "/registry-v2/docker/registry/v2/blobs/sha256/{hex}/data?verify={id}-sig",
				Answer: map[string]string{"Cache-Control": "public, max-age=14400", "Etag": `"{id}"`},
			}.step,
		},
		Tags: TagList{Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
}

// ghcr names a repository of nobody in the challenge of its ping, refuses tokens
// instead of giving empty ones, lists the oldest tags first, a hundred at a time
// with n=0 in the link, and redirects requests for referrers to a host that is busy.
func ghcr() Profile {
	const challenge = `Bearer realm="{self}/token",service="ghcr.io",scope="repository:`
	denied := problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied")
	return Profile{
		Name: "ghcr.io",
		Auth: Authority{
			HidesMissing: true,
			Ping:         unauthorized(challenge + `user/image:pull"`),
			Pull:         unauthorized(challenge + `{name}:pull"`),
			Denied:       denied,
			Tokens:       &Tokens{Path: "/token", Answer: `{"token":"{value}"}`, Refused: denied, Denied: denied},
		},
		First: []step{
			say(match{Kind: "ping", Method: http.MethodHead}, Reply{Status: http.StatusMethodNotAllowed}),
		},
		Then: []step{
			dress(match{Kind: "manifests"}, map[string]string{"Etag": `"{digest}"`, "X-Github-Request-Id": "1:2:3:4:5"}),
			wantsType(match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI index found, but Accept header does not support OCI indexes")),
			redirect{Kind: "blobs", To: "/ghcr1/blobs/sha256:{hex}?se=2026-01-01T00%3A00%3A00Z&sig={id}&sp=r&spr=https&sr=b&sv=2019-12-12"}.step,
			referrersElsewhere,
		},
		Tags:      TagList{Order: OldestFirst, Page: 100, Fixed: true, Link: `</v2/{name}/tags/list?last={last}&n=0>; rel="next"`},
		Referrers: ReferrersTag,
	}
}

func referrersElsewhere(v *visit, next func(*visit)) {
	if v.kind != "referrers" {
		next(v)
		return
	}
	v.redirect(http.StatusSeeOther, false, "/-/v2/packages/container/package/{name}%2Freferrers%2Fsha256?{id}",
		link{kind: v.kind, reply: Reply{Status: http.StatusTooManyRequests, Type: html, Body: "<html>Too many requests</html>"}}, Reply{})
}

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
		Then: []step{
			knownSubjects(problem(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid")),
			dress(match{Kind: "blobs", Method: http.MethodHead}, map[string]string{"Cache-Control": "max-age=31436000"}),
			redirect{
				Kind: "blobs", Method: http.MethodGet, Status: http.StatusFound, To: "/quayio-production-s3/sha256/{hex}?X-Amz-Expires=600&X-Amz-Signature={id}",
				Type: html, Body: "<!doctype html>\n<title>Redirecting...</title>\n",
				Header: map[string]string{"Docker-Content-Digest": "{digest}", "Accept-Ranges": "bytes", "Cache-Control": "max-age=31536000"},
				Answer: map[string]string{"Content-Type": "binary/octet-stream", "Etag": `"{id}-1"`},
			}.step,
		},
		Tags: TagList{Page: 100, Max: 100, Link: `</v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
	}
	site.Auth.Denied = site.Auth.Pull
	own := site
	own.Name = "quay"
	own.Tags.Link = `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`
	return []Profile{site, own}
}

// google is Artifact Registry: it answers for public repositories without a token,
// though not to a ping, names no service there, refuses tokens with 403 and a
// missing repository with 404 at the token server, pays no attention to pages, and
// redirects to a path of its own.
func google() []Profile {
	return []Profile{artifactRegistry("pkg.dev", "{name}", false)}
}

func artifactRegistry(name, scope string, strict bool) Profile {
	const challenge = `Bearer realm="{self}/v2/token"`
	denied := problem(http.StatusForbidden, "DENIED",
		`Unauthenticated request. Unauthenticated requests do not have permission "artifactregistry.repositories.downloadArtifacts" (or it may not exist)`)
	return Profile{
		Name: name, Naming: "project/%s/%s",
		Auth: Authority{
			Open: !strict, HidesMissing: true, Basic: true,
			Ping: problem(http.StatusUnauthorized, "UNAUTHORIZED", "not authenticated: No credential was supplied.").with(challenge),
			Pull: problem(http.StatusUnauthorized, "UNAUTHORIZED", "not authenticated: No valid credential was supplied.").
				with(challenge + `,service="{host}",scope="repository:` + scope + `:pull"`),
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
		Then: []step{
			redirect{
				Kind: "blobs", Status: http.StatusFound, Home: true, Type: "application/json", Body: `{"errors":[]}`,
				To: "/artifacts-downloads/namespaces/project/repositories/r/downloads/{id}", Unsigned: true,
				Header: map[string]string{"Cache-Control": "private"},
			}.step,
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
		First: []step{
			say(match{Kind: "ping"}, Reply{Status: http.StatusOK, Type: plain}),
			redirect{Kind: "blobs", To: "/containers/images/sha256:{hex}", Unsigned: true}.step,
			elsewhere,
		},
		Tags: abroad.Tags,
	}
}

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
		Then: []step{
			say(match{Kind: "blobs", Method: http.MethodHead}, Reply{Status: http.StatusUnauthorized}),
			redirect{Kind: "blobs", To: "/v2/0b1c2d/{id}?Expires=1800000000&Signature={id}"}.step,
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
		Then: []step{
			dress(match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": ""}),
			atMost(1000, problem(http.StatusMethodNotAllowed, "UNSUPPORTED",
				"Invalid parameter at 'maxResults' failed to satisfy constraint: 'Member must have value less than or equal to 1000'")),
			redirect{Kind: "blobs", Method: http.MethodGet, To: "/starport-layer-bucket/{hex}?X-Amz-SignedHeaders=host&X-Amz-Signature={id}"}.step,
		},
		Missing: map[string]Reply{"": problem(http.StatusNotFound, "NAME_UNKNOWN", "The repository with name '{name}' does not exist in the registry with id 'A'")},
		Tags:    TagList{Page: 100, Max: 1000, Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
	return []Profile{gallery, private}
}

// azure is Azure Container Registry with anonymous pull for what is public: the
// token has the name access_token and no life, links hold an empty parameter, and a
// manifest whose type is not asked for is not found.
func azure() Profile {
	const challenge = `Bearer realm="{self}/oauth2/token",service="{host}"`
	denied := Reply{
		Status: http.StatusUnauthorized,
		Body:   `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required","detail":[{"Type":"repository","Name":"{name}","Action":"pull"}]}]}`,
	}
	return Profile{
		Name: "azurecr.io",
		Auth: Authority{
			HidesMissing: true, Basic: true,
			Ping: unauthorized(challenge), Pull: denied.with(challenge + ofRepository),
			Denied: denied.with(challenge + ofRepository + `,error="insufficient_scope"`),
			Tokens: &Tokens{
				Path: "/oauth2/token", Answer: `{"access_token":"{value}"}`, Life: 75 * time.Minute,
				Refused: unauthorized(), Needs: []string{"service"},
			},
		},
		Then: []step{
			wantsType(match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests")),
			redirect{
				Kind: "blobs", To: "/0a1b2c//docker/registry/v2/blobs/sha256/{hex}/data?se=2026-01-01&sig={id}&sp=r&sr=b",
				Answer: map[string]string{"Etag": `"0x8DAF{id}"`},
			}.step,
		},
		Tags: TagList{Page: 100, Link: `</v2/{name}/tags/list?last={last}&n={n}&orderby=>; rel="next"`},
	}
}

// nvidia is nvcr.io: no service in any challenge, an empty scope in that of the ping,
// which is a web page, and another realm, which gives nothing, for a token that it
// does not take.
func nvidia() Profile {
	const challenge = `Bearer realm="{self}/proxy_auth"`
	page := Reply{Status: http.StatusUnauthorized, Type: "text/html", Body: "<html><head><title>401 Authorization Required</title></head></html>\r\n"}
	moved := unauthorized(`Bearer realm="{token}/token",scope="repository:{name}:pull"`)
	return Profile{
		Name: "nvcr.io", Naming: "nvidia/%s/%s",
		Auth: Authority{
			HidesMissing: true,
			Ping:         page.with(challenge + `,scope=""`), Pull: unauthorized(challenge + ofRepository),
			Stale: moved, Denied: moved,
			Tokens: &Tokens{
				Path: "/proxy_auth", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 10 * time.Minute,
				Refused: problem(http.StatusForbidden, "DENIED", "Access Denied"),
			},
		},
		Then: []step{
			redirect{Kind: "blobs", Method: http.MethodGet, To: "/org/nvidia/layers/{hex}?Signature={id}"}.step,
		},
		Tags: TagList{Ignored: true},
	}
}

// ollama asks nobody who they are, answers no ping and lists nothing. The digest of a
// manifest stands in a header of its own, without its algorithm.
func ollama() Profile {
	gone := Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found\n"}
	return Profile{
		Name: "registry.ollama.ai", AllPublic: true,
		First: []step{
			say(match{Kind: "ping"}, gone), say(match{Kind: "tags"}, gone), noReferrers,
		},
		Then: []step{
			dress(match{Kind: "manifests"}, map[string]string{
				"Docker-Content-Digest": "", "Ollama-Content-Digest": "{hex}", "Ollama-Push-Time": "1767225600", "Vary": "Accept",
			}),
			wantsType(match{}, gone),
			redirect{Kind: "blobs", To: "/ollama/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Signature={id}"}.step,
		},
		Referrers: ReferrersTag,
	}
}
