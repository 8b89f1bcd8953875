package upstream

import (
	"context"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// authenticatedAbroad answers the challenge of another registry that a redirect
// has led to, with a token that anybody gets: no credentials leave the upstream's
// own origins. A host that asks for anything else has refused.
func (v *visit) authenticatedAbroad(ctx context.Context, q query, a *answer) (*answer, error) {
	for _, way := range challengesIn(a.Header.Values("WWW-Authenticate")) {
		if way.scheme != schemeBearer {
			continue
		}
		if way.scope == "" {
			way.scope = scopeOf(repositoryIn(a.url.Path))
		}
		token, err := v.anonymous(ctx, way, a)
		a.drain()
		if err != nil {
			f := *asFailure(ctx, a.url.Host, err)
			if f.abroad = true; f.class == oci.ClassDenied && f.status != http.StatusForbidden {
				f.class = oci.ClassStatus // it is the upstream that decides who we are
			}
			return nil, &f
		}
		return v.c.send(ctx, v.e, outgoing{
			op: q.op, method: q.method, url: a.url, header: q.header, stay: q.stay,
			authorization: "Bearer " + token, abroad: true, by: a.by,
		})
	}
	return a, nil
}

// repositoryIn returns the repository in the path of a registry's URL.
func repositoryIn(path string) string {
	_, path, _ = strings.Cut(path, "/v2/")
	for _, kind := range []string{"/manifests/", "/blobs/", "/tags/", "/referrers/"} {
		if i := strings.LastIndex(path, kind); i >= 0 {
			return path[:i]
		}
	}
	return path
}
