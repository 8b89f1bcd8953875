package upstream

import (
	"context"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// abroad answers the challenge of another registry that a redirect
// has led to, with a token that anybody gets: no credentials leave the upstream's
// own origins. A host that asks for anything else has refused.
func (s *session) abroad(ctx context.Context, o outgoing, a *answer) (*answer, error) {
	for _, way := range challengesIn(a.Header.Values("WWW-Authenticate")) {
		if way.scheme != schemeBearer {
			continue
		}
		if way.scope == "" {
			way.scope = scopeOf(repositoryIn(a.url.Path))
		}
		token, err := s.anonymous(ctx, way, a)
		a.drain()
		if err != nil {
			f := *asFailure(ctx, a.url.Host, err)
			if f.abroad = true; f.class == oci.ClassDenied && f.status != http.StatusForbidden {
				f.class = oci.ClassStatus // it is the upstream that decides who we are
			}
			return nil, &f
		}
		a, err = s.r.sender.send(ctx, o.elsewhere(a, "Bearer "+token))
		if err == nil && (a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden) {
			f := s.statusFailure(a)
			f.class = oci.ClassDenied // that is a registry, and has decided
			return nil, f
		}
		return a, err
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
