package oci

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Pin is a pattern of images that are to be kept.
type Pin struct {
	// Upstream is the configured name, without patterns.
	Upstream string
	// Digest is the one manifest that is meant; empty = those of all tags that
	// match.
	Digest digest.Digest

	repository, tag Glob
	pattern         string
}

// String returns the pattern in the one form of all that mean the same.
func (p Pin) String() string { return p.pattern }

// ParsePin reads upstream/repository[:tag][@digest]. Repository and tag may be
// globs, and no tag means all of them. A digest makes the tag a comment. As in
// image references, "library/" need not be written on Docker Hub.
func ParsePin(s string) (Pin, error) {
	p, err := parsePin(s)
	if err != nil {
		return Pin{}, fmt.Errorf("%q is no pattern of images, such as docker.io/library/alpine:3.* or ghcr.io/org/**: %w", s, err)
	}
	return p, nil
}

func parsePin(whole string) (p Pin, err error) {
	s, sum, exact := strings.Cut(whole, "@")
	if exact {
		if p.Digest, err = ParseDigest(sum); err != nil {
			return Pin{}, err
		}
	}
	upstream, rest, ok := strings.Cut(s, "/")
	if !ok || upstream == "" || strings.Contains(upstream, "*") {
		return Pin{}, noUpstream(whole)
	}
	p.Upstream = upstream
	repository, tag, tagged := strings.Cut(rest, ":")
	if !strings.Contains(repository, "**") {
		repository = CanonicalRepository(upstream, repository)
	}
	if p.repository, err = ParseGlob(repository); err != nil {
		return Pin{}, err
	}
	if !tagged {
		tag = "*"
	}
	switch p.pattern = upstream + "/" + repository; {
	case exact:
		p.pattern += "@" + p.Digest.String()
	case tag != "*":
		p.pattern += ":" + tag
	}
	if tag == "" || strings.Trim(tag, tagGlob) != "" {
		return Pin{}, fmt.Errorf("%q is no glob of tags", tag)
	}
	p.tag, err = compileGlob(tag)
	return p, err
}

// Match reports whether a tag is that of an image that the pin means. A Pin of a
// digest matches no tag.
func (p Pin) Match(scope Scope, tag string) bool {
	return p.Digest == "" && p.Names(scope) && p.tag.Match(tag)
}

// Names reports whether the pin is about images of a scope.
func (p Pin) Names(scope Scope) bool {
	return p.Upstream == UpstreamName(scope.Upstream) && p.repository.Match(scope.Repository)
}
