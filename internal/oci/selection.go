package oci

import (
	"errors"
	"fmt"
	"strings"
)

// Selection names a part of what is mirrored: an upstream, one of its repositories,
// or one manifest of that. The zero value selects everything.
type Selection struct {
	// Upstream is the configured name; empty = all, and so is all of the rest.
	Upstream string
	// Repository is empty for all of them, and then Reference is, too.
	Repository string
	// Reference is a tag or a digest; the zero value = all. A digest may be that of
	// a blob.
	Reference Reference
}

const upstreamCharacters = "abcdefghijklmnopqrstuvwxyz0123456789.-:"

// ParseSelection reads upstream[/repository[:tag|@digest]]. A tag before a digest is
// a comment. As in image references, "library/" need not be written on Docker Hub.
func ParseSelection(s string) (Selection, error) {
	sel, err := parseSelection(s)
	if err != nil {
		return Selection{}, fmt.Errorf("%q is neither an upstream, such as docker.io, nor a repository of one, such as docker.io/library/alpine, with or without :tag or @digest: %w", s, err)
	}
	return sel, nil
}

func parseSelection(whole string) (sel Selection, err error) {
	s, sum, exact := strings.Cut(whole, "@")
	upstream, rest, ok := strings.Cut(s, "/")
	if name := UpstreamName(upstream); name != upstream {
		return Selection{}, fmt.Errorf("it names one identity: want %s, which stands for all of them", name)
	}
	_, port, _ := strings.Cut(upstream, ":")
	if upstream == "" || strings.Trim(upstream, upstreamCharacters) != "" || strings.Trim(port, "0123456789") != "" {
		return Selection{}, noUpstream(whole)
	}
	sel.Upstream = upstream
	if !ok {
		if exact {
			return Selection{}, errors.New("a digest needs a repository")
		}
		return sel, nil
	}
	repository, tag, tagged := strings.Cut(rest, ":")
	repository = CanonicalRepository(upstream, repository)
	if err := CheckRepository(repository); err != nil {
		return Selection{}, err
	}
	sel.Repository = repository
	if tagged && !ValidTag(tag) {
		return Selection{}, fmt.Errorf("%q is no tag", tag)
	}
	if !exact {
		sel.Reference.Tag = tag
		return sel, nil
	}
	sel.Reference.Digest, err = ParseDigest(sum)
	return sel, err
}

// String returns the selection as ParseSelection reads it; empty = everything.
func (s Selection) String() string {
	switch {
	case s.Repository == "":
		return s.Upstream
	case s.Reference.Digest != "":
		return s.Upstream + "/" + s.Repository + "@" + s.Reference.Digest.String()
	case s.Reference.Tag != "":
		return s.Upstream + "/" + s.Repository + ":" + s.Reference.Tag
	}
	return s.Upstream + "/" + s.Repository
}

// Has reports whether a scope is, wholly or in part, of the selection.
func (s Selection) Has(scope Scope) bool {
	return (s.Upstream == "" || s.Upstream == UpstreamName(scope.Upstream)) &&
		(s.Repository == "" || s.Repository == scope.Repository)
}
