package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// catalogOf returns what a store has of an upstream and a repository.
func catalogOf(t testing.TB, s *Store, upstream, repository string) (scopes, tags []string) {
	t.Helper()
	c, err := s.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for scope, err := range c.Scopes(t.Context(), upstream) {
		if err != nil {
			t.Fatal(err)
		}
		scopes = append(scopes, scope.Upstream+"/"+scope.Repository)
	}
	for tag, err := range c.Tags(t.Context(), upstream, repository) {
		if err != nil {
			t.Fatal(err)
		}
		tags = append(tags, tag.Scope.Upstream+"/"+tag.Scope.Repository+":"+tag.Name)
	}
	return scopes, tags
}

func wantList(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func wantIdentities(t testing.TB, s *Store, upstream string, want ...string) {
	t.Helper()
	c, err := s.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	identities, err := c.Identities(t.Context(), upstream)
	if err != nil {
		t.Fatal(err)
	}
	wantList(t, "identities of "+upstream, identities, want...)
}

// The catalog tells each scope and tag once and in order, by the configured name of
// the upstream, and also what was never pulled by tag. It survives in a snapshot.
func TestCatalog(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	secret := oci.Scope{Upstream: "docker.io#0123456789ab", Repository: "org/app"}
	longer := oci.Scope{Upstream: "docker.iox", Repository: "org/app"}
	bare := oci.Scope{Upstream: "ghcr.io", Repository: "only/digests"}
	index, _ := storeImage(t, s, scope, "3.20", 1, false)
	storeImage(t, s, scope, "edge", 2, false)
	storeImage(t, s, secret, "v1", 3, false)
	storeImage(t, s, longer, "v2", 4, false)
	if err := s.Link(t.Context(), bare, oci.Descriptor{Digest: index, Size: 5}); err != nil {
		t.Fatal(err)
	}
	check := func(s *Store) {
		t.Helper()
		scopes, tags := catalogOf(t, s, "", "")
		wantList(t, "all scopes", scopes, "docker.io/library/alpine", "docker.io#0123456789ab/org/app", "docker.iox/org/app", "ghcr.io/only/digests")
		wantList(t, "all tags", tags, "docker.io/library/alpine:3.20", "docker.io/library/alpine:edge", "docker.io#0123456789ab/org/app:v1", "docker.iox/org/app:v2")
		scopes, tags = catalogOf(t, s, "docker.io", "org/app")
		wantList(t, "scopes of docker.io", scopes, "docker.io/library/alpine", "docker.io#0123456789ab/org/app")
		wantIdentities(t, s, "docker.io", "docker.io", "docker.io#0123456789ab")
		wantIdentities(t, s, "docker.iox", "docker.iox")
		wantIdentities(t, s, "docker")
		wantList(t, "tags of org/app", tags, "docker.io#0123456789ab/org/app:v1")
		scopes, tags = catalogOf(t, s, "nobody", "")
		wantList(t, "scopes of nobody", scopes)
		wantList(t, "tags of nobody", tags)
	}
	check(s)
	view, err := s.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	for tag, err := range view.Tags(t.Context(), "docker.io", "library/alpine") {
		if err != nil || tag.Digest != index || !tag.Checked.Equal(c.now().Truncate(time.Second)) {
			t.Errorf("tag is %+v, %v", tag, err)
		}
		break
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rebuilt, err := Rebuild(t.Context(), Options{Path: s.home.path, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	defer rebuilt.Close()
	check(rebuilt)
}

// A catalog is of one moment, and holds up neither writers nor a Close.
func TestCatalogIsOfOneMoment(t *testing.T) {
	t.Parallel()
	s := openTest(t, Options{})
	const n = 2*index.TableStep + 3
	for k := range n {
		if err := s.PutTag(t.Context(), scope, fmt.Sprintf("t%05d", k), Tag{Digest: oci.Sum([]byte("x")), Checked: s.now()}); err != nil {
			t.Fatal(err)
		}
	}
	c, err := s.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	seen := 0
	for tag, err := range c.Tags(t.Context(), "", "") {
		if err != nil || tag.Name != fmt.Sprintf("t%05d", seen) {
			t.Fatal(seen, tag, err)
		}
		if seen++; seen == 1 {
			// Neither is to be seen, and neither waits.
			err = errors.Join(s.DeleteTag(t.Context(), scope, "t01000"), s.PutTag(t.Context(), scope, "t00500x", Tag{Digest: tag.Digest}))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != n {
		t.Errorf("%d tags", seen)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen = 0
	for _, err := range c.Tags(ctx, "", "") {
		if seen++; err != nil {
			wantErr(t, "cancelled", err, context.Canceled)
		}
		cancel()
	}
	if seen != index.TableStep+1 {
		t.Errorf("%d after cancelling", seen)
	}
	seen = 0
	for _, err := range c.Tags(t.Context(), "", "") {
		if seen++; err != nil {
			wantErr(t, "closed", err, ErrClosed)
		} else if seen == 1 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != index.TableStep+1 {
		t.Errorf("%d after closing", seen)
	}
	_, err = s.Catalog(ctx)
	wantErr(t, "catalog", err, ErrClosed)
}

// The name of a scope goes when it has neither links nor tags.
func TestForgetScope(t *testing.T) {
	t.Parallel()
	c := newClock()
	s := openTest(t, Options{Now: c.now})
	gone := oci.Scope{Upstream: "ghcr.io", Repository: "a/gone"}
	tagged := oci.Scope{Upstream: "ghcr.io", Repository: "a/tagged"}
	absent := oci.Descriptor{Digest: oci.Sum([]byte("never came")), Size: 5}
	if err := errors.Join(s.Link(t.Context(), gone, absent), s.Link(t.Context(), tagged, absent)); err != nil {
		t.Fatal(err)
	}
	storeImage(t, s, scope, "3", 1, false)
	s.limits.Store(&Limits{MaxUnused: time.Hour})
	c.move(48 * time.Hour)
	if err := s.PutTag(t.Context(), tagged, "v1", Tag{Digest: absent.Digest, Checked: c.now()}); err != nil {
		t.Fatal(err)
	}
	if err := s.keeper.forgetting.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.keeper.forgetting.forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	scopes, _ := catalogOf(t, s, "", "")
	wantList(t, "scopes", scopes, "docker.io/library/alpine", "ghcr.io/a/tagged")
}
