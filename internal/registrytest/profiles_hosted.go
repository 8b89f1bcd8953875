package registrytest

import (
	"net/http"
	"strings"
	"time"
)

// distribution is registry:2, in its version 2.8, with a token server beside it and
// its blobs in S3: URLs are signed for the method, tags are in no order and all at
// once, and a manifest of OCI that is not asked for by its type is not found.
func distribution() Profile {
	return Profile{
		Name: "registry-2",
		Auth: bearer(`Bearer realm="{token}/auth/token",service="registry"`, Tokens{
			Host: HostToken, Path: "/auth/token", Life: 300 * time.Second,
			Answer: `{"token":"{value}","access_token":"{value}","expires_in":{life},"issued_at":"{utc}"}`,
		}),
		Then: []step{
			dress(match{Kind: "manifests"}, map[string]string{"Etag": `"{digest}"`}),
			wantsType(match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "OCI manifest found, but accept header does not support OCI manifests")),
			redirect{Kind: "blobs", To: "/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Expires=1200&X-Amz-Signature={id}"}.step,
			noReferrers,
		},
		Missing:   map[string]Reply{"tags": problem(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")},
		Tags:      TagList{Order: ShuffledTags, Ignored: true},
		Referrers: ReferrersTag,
	}
}

// pulp redirects blobs, GET and HEAD, to URLs that are signed for the method. Its
// tokens were issued in local time that calls itself UTC. A full page has a link even
// if it is the last one.
func pulp() Profile {
	auth := bearer(`Bearer realm="{token}/token/",service="{host}"`, Tokens{
		Host: HostToken, Path: "/token/", Life: 300 * time.Second, Needs: []string{"service"},
		Answer: `{"expires_in":{life},"issued_at":"{local}","token":"{value}","access_token":"{value}"}`,
	})
	auth.Denied = problem(http.StatusForbidden, "DENIED", "Access to the requested resource is denied")
	return Profile{
		Name: "pulp", Auth: auth,
		Missing: map[string]Reply{"": problem(http.StatusNotFound, "NAME_UNKNOWN", "Repository not found.")},
		Then: []step{
			wantsType(match{ByTag: true}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "Manifest not found.")),
			redirect{
				Kind: "blobs", Status: http.StatusFound, To: "/pulp/container/{name}/blobs/{digest}?expires=1800000000&validate_token={id}",
				Type: html, Answer: map[string]string{"Docker-Content-Digest": "{digest}"},
			}.step,
			noReferrers,
		},
		Tags:      TagList{Page: 100, Max: 1000, Full: true, Link: `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
}

// gitLab keeps its token server at another host. A client without an account is refused there
// with 403, an account without the right gets a token that is good for nothing. The
// tag that stands in for the referrers of a digest answers with the subject itself.
func gitLab() Profile {
	auth := bearer(`Bearer realm="{token}/jwt/auth",service="container_registry"`, Tokens{
		Host: HostToken, Path: "/jwt/auth", Answer: `{"token":"{value}"}`, Life: 5 * time.Minute,
		Refused: problem(http.StatusForbidden, "DENIED", "access forbidden"),
	})
	auth.HidesMissing, auth.Stale = true, Reply{}
	return Profile{
		Name: "registry.gitlab", Auth: auth,
		Missing: map[string]Reply{"blobs": problem(http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to registry")},
		Then: []step{
			redirect{Kind: "blobs", To: "/registry/docker/registry/v2/blobs/sha256/{hex}/data?X-Amz-Expires=1200&X-Amz-Signature={id}"}.step,
			noReferrers, tagIsSubject,
		},
		Tags:      TagList{Page: 100, Max: 1000, Null: true, Link: `</v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersNone,
	}
}

// harborProxy is a project of Harbor that is a cache itself. It challenges even for
// what is public, and in another way once somebody has said who they are: with Basic,
// or with an empty header where there is no such project. A blob is missing to HEAD
// until somebody has got it, and comes whole the first time. A manifest by tag has no
// digest then.
func harborProxy() Profile {
	const challenge = `Bearer realm="{self}/service/token",service="harbor-registry"`
	notFound := problem(http.StatusNotFound, "NOT_FOUND", "not found")
	return Profile{
		Name: "harbor",
		Auth: Authority{
			Basic: true,
			Ping:  unauthorized(challenge), Pull: unauthorized(challenge + ofRepository),
			Denied: unauthorized(`Basic realm="harbor"`), Stale: unauthorized(`Basic realm="harbor"`),
			Tokens: &Tokens{
				Path: "/service/token", Life: 30 * time.Minute, NoScope: Reply{Status: http.StatusUnauthorized}, Needs: []string{"service"},
				Answer: `{"token":"{value}","access_token":"","expires_in":{life},"issued_at":"{utc}"}`,
			},
		},
		Missing: map[string]Reply{"manifests": notFound, "blobs": notFound, "tags": notFound},
		First:   []step{noProject},
		Then: []step{
			headAfterGet, firstTime(
				dress(match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": " ", "Etag": " "}),
				dress(match{Kind: "manifests"}, map[string]string{"Etag": "{digest}"})),
			firstTime(whole(match{Kind: "blobs"}), nil),
		},
		Tags: TagList{Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
}

// noProject answers clients with an Authorization that ask below a first component that
// no repository has.
func noProject(v *visit, next func(*visit)) {
	when(func(v *visit) bool {
		return v.holder != nobody && v.kind != "ping" && !v.server.isGroup(v.name)
	}, always(unauthorized("")))(v, next)
}

// firstTime takes the one step for what was not given out yet, the other (nil = none)
// for what was.
func firstTime(cold, warm step) step {
	return func(v *visit, next func(*visit)) {
		d, _ := v.resolve()
		switch {
		case !v.repo.wasGiven(d):
			cold(v, next)
		case warm != nil:
			warm(v, next)
		default:
			next(v)
		}
	}
}

// nexus is Nexus with its realm of bearer tokens, and without. The scope of the
// challenge is a star, the service is the realm, the token is good for everything,
// links are whole URLs. HEAD of a manifest was seen to answer 404, as a web page.
func nexus() []Profile {
	const challenge = `Bearer realm="{self}/v2/token",service="{self}/v2/token"`
	refused := problem(http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized")
	tokens := Profile{
		Name: "nexus",
		Auth: Authority{
			Basic: true,
			Ping:  refused.with(challenge), Pull: refused.with(challenge + `,scope="repository:*:pull"`),
			Denied: refused.with(challenge + `,scope="repository:*:pull"`),
			Tokens: &Tokens{Path: "/v2/token", Answer: `{"token":"{value}"}`, Prefix: "DockerToken.", Unbound: true},
		},
		Then: []step{
			say(match{Kind: "manifests", Method: http.MethodHead}, Reply{Status: http.StatusNotFound, Type: html}),
			noReferrers,
		},
		Missing:   map[string]Reply{"tags": problem(http.StatusNotFound, "NAME_UNKNOWN", "repository name not known to registry")},
		Tags:      TagList{Link: `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
	basic := tokens
	basic.Name = "nexus-basic"
	basicOnly := refused.with(`BASIC realm="Sonatype Nexus Repository Manager"`)
	basic.Auth = Authority{Basic: true, Pull: basicOnly, Denied: basicOnly}
	basic.Then = []step{noReferrers}
	return []Profile{tokens, basic}
}

// artifactory is a remote repository of Artifactory: the first component of a name is
// the key of a repository, which has a realm of its own and stands not in the scope. A
// blob is missing until a manifest that names it was got; whether HEAD is enough is not
// known, and here it is not. A list that was cut has no link. Older ones name no scope
// to a HEAD.
func artifactory() Profile {
	const challenge = `Bearer realm="{self}/artifactory/api/docker/{key}/v2/token",service="{host}"`
	message := `{"errors":[{"status":401,"message":"Authentication is required"}]}`
	unknown := Reply{
		Status: http.StatusNotFound,
		Body:   `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"The named manifest is not known to the registry.","detail":{"manifest":"{rest}"}}]}`,
	}
	return Profile{
		Name: "artifactory", Naming: "%s/bitnami/%s",
		Auth: Authority{
			Basic: true,
			Ping:  unauthorized(`Bearer realm="{self}/v2/token",service="{host}"`),
			Pull:  unauthorized(challenge + `,scope="repository:{rest}:pull"`),
			Tokens: &Tokens{
				Path: "/v2/token", Realm: "/artifactory/api/docker/", Answer: `{"token":"{value}","expires_in":{life}}`, Life: 9000 * time.Second,
				Name: func(v *visit, name string) string {
					key := before(strings.TrimPrefix(v.r.URL.Path, "/artifactory/api/docker/"))
					return key + "/" + strings.TrimPrefix(name, key+"/") // it is not known to mind
				},
				Stranger: Reply{Status: http.StatusUnauthorized, Body: `{"errors":[{"status":401,"message":"Bad Credentials"}]}`},
				Refused:  Reply{Status: http.StatusUnauthorized, Body: message},
			},
		},
		First: []step{scopelessHead(challenge)},
		Then: []step{
			dress(match{Kind: "manifests", Method: http.MethodGet}, map[string]string{
				"Etag": "0a4d55a8d778e5022fab701977c5d840bbc486d0", "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
				"X-Artifactory-Filename": "manifest.json", "Content-Disposition": `attachment; filename="manifest.json"`,
			}),
			manifestFirst, noReferrers,
		},
		Missing:   map[string]Reply{"manifests": unknown, "tags": unknown},
		Tags:      TagList{},
		Referrers: ReferrersTag,
	}
}

func scopelessHead(challenge string) step {
	return when(func(v *visit) bool {
		return v.r.Method == http.MethodHead && v.holder == nobody && v.kind != "ping"
	}, always(unauthorized(challenge)))
}

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
		Then: []step{
			dress(match{Kind: "blobs", Method: http.MethodHead}, map[string]string{"Content-Type": ""}),
			redirect{
				Method: http.MethodGet, To: "/packages/{hex}?X-Amz-Signature={id}",
				Header: map[string]string{"Content-Length": "{size}"},
			}.step,
			noReferrers,
		},
		Tags:      TagList{Always: true, Link: `</v2/{name}/tags/list?last={last}>; rel="next"`},
		Referrers: ReferrersTag,
	}
}

// zot answers everybody for what is public, and the ping with a challenge beside the
// 200, in lower case and without quotes. Its error of a 401 is no list. One that pulls
// on demand has no blob before the manifest was asked for.
func zot() []Profile {
	usual := Profile{
		Name: "zot",
		Auth: Authority{
			Open: true, OpenPing: true, Basic: true,
			Pull: Reply{
				Status: http.StatusUnauthorized, Body: `{"code":"UNAUTHORIZED","message":"authentication required","description":"The access controller was unable to authenticate the client."}`,
			}.with(`Basic realm="Authorization Required"`),
			Denied: problem(http.StatusForbidden, "DENIED", "requested access to the resource is denied").with(`Basic realm="Authorization Required"`),
		},
		Welcome: Reply{Status: http.StatusOK, Body: "{}"}.with(`basic realm=zot`),
		Then:    []step{redirect{Kind: "blobs", Method: http.MethodGet, Unranged: true, To: "/zot/{hex}?X-Amz-Signature={id}"}.step},
		Tags: TagList{
			Link: `</v2/{name}/tags/list?n={n}&last={lastraw}>; rel="next"`, LastGone: Reply{Status: http.StatusNotFound},
		},
	}
	onDemand := usual
	onDemand.Name = "zot-sync"
	onDemand.Then = []step{headFetches, manifestFirst}
	return []Profile{usual, onDemand}
}
