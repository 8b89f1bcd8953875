package auth

import (
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// The schemes that are spoken.
const (
	schemeNone   = ""
	schemeBasic  = "basic"
	schemeBearer = "bearer"
)

// maxParameterLength bounds the parameters of a challenge, which are kept.
const maxParameterLength = 4 * oci.MaxRepositoryLength

// challenge is one way to authenticate, as a registry has asked for it (RFC 9110,
// section 11.3). The zero value is the way without any.
type challenge struct {
	scheme string
	// realm and service are those of a Bearer challenge. The realm of a Basic one
	// is for people.
	realm, service string
	// scope is what the challenge to a repository names in place of that
	// repository; empty = the repository, as in scopeOf.
	scope string
}

// scopeOf is the scope for pulls from a repository (Docker, "Token Scope
// Documentation").
func scopeOf(repository string) string { return "repository:" + repository + ":pull" }

// namesNone reports whether the scope names no repository, such as "aws" of
// public.ecr.aws and "repository:*:pull" of Nexus, so that it is good for all.
func (c challenge) namesNone() bool {
	_, name, named := strings.Cut(c.scope, ":")
	return !named || strings.HasPrefix(name, "*")
}

// challengesIn reads WWW-Authenticate headers: the Bearer challenges that name a
// realm, then one for Basic, if that is offered.
func challengesIn(headers []string) (found []challenge) {
	basic := false
	for _, header := range headers {
		for _, p := range parseChallenges(header) {
			switch p.scheme {
			case schemeBasic:
				basic = true
			case schemeBearer:
				c := challenge{schemeBearer, p.parameters["realm"], p.parameters["service"], p.parameters["scope"]}
				if c.realm != "" && len(c.realm)+len(c.service)+len(c.scope) <= maxParameterLength {
					found = append(found, c)
				}
			}
		}
	}
	if basic {
		found = append(found, challenge{scheme: schemeBasic})
	}
	return found
}

// offeredFor reads the challenges of an answer to a request for a repository.
func offeredFor(repository string, a *wire.Answer) []challenge {
	found := challengesIn(a.Header.Values("WWW-Authenticate"))
	for i := range found {
		if found[i].scope == scopeOf(repository) {
			found[i].scope = ""
		}
	}
	return found
}

// offeredForPing reads those of an answer to a ping. If the scope of one names a
// repository, it is that of nobody in particular (ghcr.io names "user/image").
func offeredForPing(a *wire.Answer) []challenge {
	found := challengesIn(a.Header.Values("WWW-Authenticate"))
	for i := range found {
		if !found[i].namesNone() {
			found[i].scope = ""
		}
	}
	return found
}

// parsedChallenge is a challenge with all its parameters.
type parsedChallenge struct {
	scheme     string
	parameters map[string]string
}

// parseChallenges reads one header (RFC 9110, section 11.6.1), which may hold
// several. Scheme and parameter names come out in lower case; what does not parse
// is passed over.
func parseChallenges(s string) (challenges []parsedChallenge) {
	for {
		s = strings.TrimLeft(s, " \t,")
		if s == "" {
			return challenges
		}
		name, rest := cutToken(s)
		if name == "" {
			_, s, _ = strings.Cut(s, ",")
			continue
		}
		name, s = strings.ToLower(name), strings.TrimLeft(rest, " \t")
		value, isParameter := strings.CutPrefix(s, "=")
		if !isParameter {
			challenges = append(challenges, parsedChallenge{name, map[string]string{}})
			continue
		}
		value, s = cutValue(strings.TrimLeft(value, " \t"))
		if len(challenges) == 0 {
			continue
		}
		parameters := challenges[len(challenges)-1].parameters
		if _, twice := parameters[name]; !twice {
			parameters[name] = value
		}
	}
}

// cutToken splits a token (RFC 9110, section 5.6.2) off s.
func cutToken(s string) (token, rest string) {
	i := strings.IndexFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// cutValue splits a token or a quoted string off s.
func cutValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		// Registries send URLs without quotes too, so more than a token passes.
		i := strings.IndexAny(s, " \t,")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}
