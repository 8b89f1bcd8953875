package imagelist

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const latest = "latest"

// hostPattern is the host[:port] that an upstream is named by.
var hostPattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*(?::[0-9]{1,5})?$`)

// Image names one image, completely. It is comparable.
type Image struct {
	// Upstream is the registry's host, as references name it: "docker.io".
	Upstream string
	// Repository is the name there: "library/alpine".
	Repository string
	// Tag and Digest say which image; one of them may be empty.
	Tag    string
	Digest digest.Digest
}

// Parse reads one reference, and completes it: Docker Hub where no registry is
// named, library/ for its images of one component, and latest where there is
// neither tag nor digest. The host of the registry becomes lower case.
func Parse(s string) (Image, error) {
	i, err := parse(s)
	if err != nil {
		return Image{}, fmt.Errorf("%q is no image reference: %w", clip(s), err)
	}
	return i, nil
}

func parse(s string) (i Image, err error) {
	switch {
	case s == "":
		return i, fmt.Errorf("it is empty")
	case strings.Contains(s, "://"):
		return i, fmt.Errorf("leave out the %s", s[:strings.Index(s, "://")+3])
	case strings.ContainsAny(s, " \t"):
		return i, fmt.Errorf("it has a space")
	}
	name, sum, digested := strings.Cut(s, "@")
	if digested {
		if i.Digest, err = oci.ParseDigest(sum); err != nil {
			return i, err
		}
	}
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		name, i.Tag = name[:colon], name[colon+1:]
		if !oci.ValidTag(i.Tag) {
			return i, fmt.Errorf("%q is no tag", clip(i.Tag))
		}
	}
	if i.Tag == "" && !digested {
		i.Tag = latest
	}
	i.Upstream, i.Repository = oci.DockerHub, name
	host, rest, ok := strings.Cut(name, "/")
	if lower := strings.ToLower(host); ok && oci.IsRegistry(lower) {
		i.Upstream, i.Repository = lower, rest
		if !hostPattern.MatchString(i.Upstream) {
			return i, fmt.Errorf("%q is no registry", clip(host))
		}
	}
	i.Upstream = oci.CanonicalUpstream(i.Upstream)
	i.Repository = oci.CanonicalRepository(i.Upstream, i.Repository)
	return i, oci.CheckRepository(i.Repository)
}

// Reference is what clients ask for: the digest, if there is one.
func (i Image) Reference() oci.Reference {
	if i.Digest != "" {
		return oci.Reference{Digest: i.Digest}
	}
	return oci.Reference{Tag: i.Tag}
}

// String returns the whole reference. Parse reads it again.
func (i Image) String() string {
	s := i.Upstream + "/" + i.Repository
	if i.Tag != "" {
		s += ":" + i.Tag
	}
	if i.Digest != "" {
		s += "@" + i.Digest.String()
	}
	return s
}

// MarshalText is String, for JSON.
func (i Image) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText is Parse, for JSON.
func (i *Image) UnmarshalText(text []byte) (err error) {
	*i, err = Parse(string(text))
	return err
}

// clip shortens foreign text for a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
