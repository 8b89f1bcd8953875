package oci

import (
	"fmt"
	"regexp"
	"strings"
)

// Glob is a pattern in which * stands for any text without a slash and ** for any
// text. The zero value matches nothing. Safe for concurrent use.
type Glob struct{ expression *regexp.Regexp }

const (
	repositoryGlob = "abcdefghijklmnopqrstuvwxyz0123456789._-/*"
	tagGlob        = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-*"
)

// ParseGlob reads a pattern of repository names.
func ParseGlob(s string) (Glob, error) {
	if err := CheckGlob(s); err != nil {
		return Glob{}, err
	}
	return compileGlob(s)
}

// CheckGlob tells what is wrong with a pattern of repository names; nil = nothing.
func CheckGlob(s string) error {
	if s == "" || strings.Contains(s, "***") || strings.Trim(s, repositoryGlob) != "" {
		return fmt.Errorf("%q is no glob of repositories: want the characters of repository names, * and **, such as library/* or team-a/**", s)
	}
	return nil
}

func compileGlob(s string) (Glob, error) {
	expression := regexp.QuoteMeta(s)
	expression = strings.ReplaceAll(expression, `\*\*`, `.*`)
	expression = strings.ReplaceAll(expression, `\*`, `[^/]*`)
	compiled, err := regexp.Compile("^" + expression + "$")
	if err != nil {
		return Glob{}, fmt.Errorf("compile glob %q: %w", s, err)
	}
	return Glob{compiled}, nil
}

// Match reports whether the pattern matches all of s.
func (g Glob) Match(s string) bool { return g.expression != nil && g.expression.MatchString(s) }
