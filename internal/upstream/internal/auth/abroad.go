package auth

import (
	"context"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Abroad answers the challenge of another registry that a redirect
// has led to, with a token that anybody gets: no credentials leave the upstream's
// own origins. A host that asks for anything else has refused.
func (s *Session) Abroad(ctx context.Context, o wire.Request, a *wire.Answer) (*wire.Answer, error) {
	for _, way := range challengesIn(a.Header.Values("WWW-Authenticate")) {
		if way.scheme != schemeBearer {
			continue
		}
		if way.scope == "" {
			way.scope = scopeOf(repositoryIn(a.URL.Path))
		}
		token, err := s.anonymous(ctx, way, a)
		a.Drain()
		if err != nil {
			f := *wire.AsFailure(ctx, a.URL.Host, err)
			if f.Abroad = true; f.Class == oci.ClassDenied && f.Status != http.StatusForbidden {
				f.Class = oci.ClassStatus // it is the upstream that decides who we are
			}
			return nil, &f
		}
		a, err = s.r.sender.Send(ctx, o.Elsewhere(a, "Bearer "+token))
		if err == nil && (a.StatusCode == http.StatusUnauthorized || a.StatusCode == http.StatusForbidden) {
			f := s.StatusFailure(a)
			f.Class = oci.ClassDenied // that is a registry, and has decided
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
