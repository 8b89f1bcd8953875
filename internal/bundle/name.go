package bundle

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Name is the whole name of an image. The zero value names nothing.
type Name struct {
	// Upstream is the registry as image references name it.
	Upstream string
	// Repository is the name there, "library/" included.
	Repository string
	// One of these, or none if only a repository is meant.
	Reference oci.Reference
}

// ParseName reads upstream/repository:tag or upstream/repository@digest, or both,
// where the digest counts. A name without an upstream is refused: many tools write bare
// tags. "library/" need not be written on Docker Hub.
func ParseName(s string) (Name, error) {
	n, err := parseName(s)
	if err != nil {
		return Name{}, fmt.Errorf("%q is no whole name of an image, such as docker.io/library/alpine:3.20: %w", oci.Clip(s), err)
	}
	return n, nil
}

func parseName(s string) (n Name, err error) {
	rest, sum, exact := strings.Cut(s, "@")
	if exact {
		if n.Reference.Digest, err = oci.ParseDigest(sum); err != nil {
			return Name{}, err
		}
	}
	upstream, rest, found := strings.Cut(rest, "/")
	if !found || !oci.IsRegistry(upstream) {
		if whole := oci.WholeName(s); whole != "" {
			return Name{}, fmt.Errorf("it begins with no registry (did you mean %s?)", oci.Clip(whole))
		}
		return Name{}, errors.New("it begins with no registry")
	}
	if upstream != strings.ToLower(upstream) || strings.Trim(upstream, hostCharacters) != "" {
		return Name{}, fmt.Errorf("%q is no registry", oci.Clip(upstream))
	}
	repository, tag, tagged := strings.Cut(rest, ":")
	if tagged && !oci.ValidTag(tag) {
		return Name{}, fmt.Errorf("%q is no tag", oci.Clip(tag))
	}
	if tagged && !exact {
		n.Reference.Tag = tag
	}
	upstream = oci.CanonicalUpstream(upstream)
	repository = oci.CanonicalRepository(upstream, repository)
	if err := oci.CheckRepository(repository); err != nil {
		return Name{}, err
	}
	n.Upstream, n.Repository = upstream, repository
	return n, nil
}

const hostCharacters = "abcdefghijklmnopqrstuvwxyz0123456789.-:[]_"

// parseFamiliar reads a name as docker save writes it: without a registry, it is
// one of Docker Hub.
func parseFamiliar(s string) (Name, error) {
	first, _, found := strings.Cut(s, "/")
	if !found || !oci.IsRegistry(first) {
		s = oci.DockerHub + "/" + s
	}
	return ParseName(s)
}

// String returns the name as ParseName reads it.
func (n Name) String() string { return oci.Selection(n).String() }

// Place returns the repository with its upstream: "docker.io/library/alpine".
func (n Name) Place() string { return n.Upstream + "/" + n.Repository }

// IsZero reports whether this is no name.
func (n Name) IsZero() bool { return n == Name{} }

// DamageError says that a bundle is not what it should be.
type DamageError struct {
	// Entry is the name within the bundle; empty = the bundle as a whole.
	Entry string
	// Digest is that of the content; empty where there is none.
	Digest digest.Digest
	// Reason says what is wrong.
	Reason error
	// Foreign says that it is no bundle at all.
	Foreign bool
}

// Error names entry, digest and reason.
func (e *DamageError) Error() string {
	if e.Foreign {
		return "it is no image bundle: " + e.Reason.Error()
	}
	var about []string
	if e.Entry != "" {
		about = append(about, fmt.Sprintf("entry %q", oci.Clip(e.Entry)))
	}
	if e.Digest != "" && !strings.Contains(e.Entry, e.Digest.Encoded()) {
		about = append(about, e.Digest.String())
	}
	if len(about) == 0 {
		return "the bundle is damaged: " + e.Reason.Error()
	}
	return "the bundle is damaged: " + strings.Join(about, ", ") + ": " + e.Reason.Error()
}

// Unwrap returns the reason.
func (e *DamageError) Unwrap() error { return e.Reason }

// damaged is a DamageError of an entry.
func damaged(entry string, d digest.Digest, format string, args ...any) error {
	return &DamageError{Entry: entry, Digest: d, Reason: fmt.Errorf(format, args...)}
}

// foreign is a DamageError of what is no bundle at all. It quotes nothing of it.
func foreign(format string, args ...any) error {
	return &DamageError{Reason: fmt.Errorf(format, args...), Foreign: true}
}
