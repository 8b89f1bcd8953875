package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what machines run: an operating system and an architecture, with a
// variant of that ("linux/arm/v7") or whichever there is.
type Platform struct {
	OS, Architecture, Variant string
}

var platformPattern = regexp.MustCompile(`^[a-z0-9_.-]{1,64}$`)

// architectures are other names of some, as uname and others have them.
var architectures = map[string]string{"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}

// ParsePlatform reads os/architecture[/variant].
func ParsePlatform(s string) (Platform, error) {
	fields := strings.Split(strings.ToLower(s), "/")
	odd := func(field string) bool { return !platformPattern.MatchString(field) }
	if len(fields) < 2 || len(fields) > 3 || slices.ContainsFunc(fields, odd) {
		return Platform{}, fmt.Errorf("%q is no platform: want such as linux/amd64 or linux/arm/v7", s)
	}
	p := Platform{OS: fields[0], Architecture: fields[1]}
	if common, ok := architectures[p.Architecture]; ok {
		p.Architecture = common
	}
	if len(fields) == 3 {
		p.Variant = fields[2]
	}
	return p, nil
}

// String returns what ParsePlatform reads.
func (p Platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// matches reports whether an image of a platform is one for p. Without a variant, p
// stands for all of them: which one a machine would take is not known here.
func (p Platform) matches(of Platform) bool {
	return p.OS == of.OS && p.Architecture == of.Architecture &&
		(p.Variant == "" || p.Variant == of.Variant || of.Variant == "" && p.Variant == implied[p.Architecture])
}

// implied are the variants that are left out.
var implied = map[string]string{"amd64": "v1", "arm64": "v8", "arm": "v7"}

// unknown is what indexes say of what runs nowhere.
var unknown = Platform{OS: "unknown", Architecture: "unknown"}

// platformOf returns the platform of a descriptor of an index; ok is false if it
// tells none.
func platformOf(p *ocispec.Platform) (_ Platform, ok bool) {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return Platform{}, false
	}
	of := Platform{OS: strings.ToLower(p.OS), Architecture: strings.ToLower(p.Architecture), Variant: strings.ToLower(p.Variant)}
	for _, field := range []string{of.OS, of.Architecture, of.Variant} {
		if field != "" && !platformPattern.MatchString(field) {
			return unknown, true // and nothing to show to anybody
		}
	}
	return of, true
}
