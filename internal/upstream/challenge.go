package upstream

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// The schemes that are spoken.
const (
	schemeNone   = ""
	schemeBasic  = "basic"
	schemeBearer = "bearer"
)

// parseChallenge picks the challenge to answer from WWW-Authenticate headers
// (RFC 9110, section 11.6.1): the first Bearer one with a realm, else the first
// Basic one. Several can stand in one header.
func parseChallenge(headers []string) (transport.Challenge, bool) {
	var basic *transport.Challenge
	for _, header := range headers {
		for _, c := range parseChallenges(header) {
			switch c.Scheme {
			case schemeBearer:
				if c.Parameters["realm"] != "" {
					return c, true
				}
			case schemeBasic:
				if basic == nil {
					basic = &c
				}
			}
		}
	}
	if basic == nil {
		return transport.Challenge{}, false
	}
	return *basic, true
}

// parseChallenges reads one header. Scheme and parameter names come out in
// lower case; what does not parse is passed over.
func parseChallenges(s string) (challenges []transport.Challenge) {
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
			challenges = append(challenges, transport.Challenge{Scheme: name, Parameters: map[string]string{}})
			continue
		}
		value, s = cutValue(strings.TrimLeft(value, " \t"))
		if len(challenges) == 0 {
			continue
		}
		parameters := challenges[len(challenges)-1].Parameters
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
