package registrytest

import (
	"net/http"
	"time"
)

// harborProxy is a project of Harbor that is a cache itself. It challenges even for
// what is public, and in another way once somebody has said who they are: with Basic,
// or with an empty header where there is no such project. A blob is missing to HEAD
// until somebody has got it, and comes whole the first time. A manifest by tag has no
// digest then.
func harborProxy() Profile {
	const bearer = `Bearer realm="{self}/service/token",service="harbor-registry"`
	notFound := problem(http.StatusNotFound, "NOT_FOUND", "not found")
	return Profile{
		Name: "harbor",
		Auth: Authority{
			Basic: true,
			Ping:  unauthorized(bearer), Pull: unauthorized(bearer + `,scope="repository:{name}:pull"`),
			Denied: unauthorized(`Basic realm="harbor"`), Stale: unauthorized(`Basic realm="harbor"`),
			Tokens: &Tokens{
				Path: "/service/token", Life: 30 * time.Minute, NoScope: Reply{Status: http.StatusUnauthorized}, Needs: []string{"service"},
				Answer: `{"token":"{value}","access_token":"","expires_in":{life},"issued_at":"{utc}"}`,
			},
		},
		Missing: map[string]Reply{"manifests": notFound, "blobs": notFound, "tags": notFound},
		First:   []Step{NoProject},
		Then: []Step{
			HeadAfterGet, firstTime(
				Dress(Match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": " ", "Etag": " "}),
				Dress(Match{Kind: "manifests"}, map[string]string{"Etag": "{digest}"})),
			firstTime(Whole(Match{Kind: "blobs"}), nil),
		},
		Tags: TagList{Link: `</v2/{name}/tags/list?last={last}&n={n}>; rel="next"`},
	}
}

// NoProject answers who has said something and asks below a first component that no
// repository has.
func NoProject(v *Visit, next func(*Visit)) {
	if v.holder == nobody || v.kind == "ping" || v.isGroup() {
		next(v)
		return
	}
	v.reply(unauthorized(""))
}

// isGroup reports whether a repository has the same first component.
func (v *Visit) isGroup() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name := range v.repos {
		if before(name) == before(v.name) {
			return true
		}
	}
	return false
}

// firstTime takes the one step for what was not given out yet, the other (nil = none)
// for what was.
func firstTime(cold, warm Step) Step {
	return func(v *Visit, next func(*Visit)) {
		d, ok := v.resolve()
		if !ok {
			d = v.digest()
		}
		switch {
		case !v.is(func(r *repository) bool { return r.given[d] }):
			cold(v, next)
		case warm != nil:
			warm(v, next)
		default:
			next(v)
		}
	}
}
