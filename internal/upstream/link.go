package upstream

import (
	"net/url"
	"strings"
)

// nextPage returns the query of the page that a Link header calls next (RFC
// 8288). Only a link to the same origin counts; of its URL only the query is
// used, so that it cannot lead to another path either.
func nextPage(headers []string, from *url.URL) url.Values {
	for _, header := range headers {
		for target, parameters := range links(header) {
			if !isNext(parameters) {
				continue
			}
			u, err := from.Parse(target)
			if err != nil || originOf(u) != originOf(from) || u.User != nil {
				continue
			}
			query, err := url.ParseQuery(u.RawQuery)
			if err != nil || len(query) == 0 {
				continue
			}
			return query
		}
	}
	return nil
}

// links yields target and parameters of each link in a header.
func links(header string) func(yield func(target, parameters string) bool) {
	return func(yield func(target, parameters string) bool) {
		for {
			_, rest, found := strings.Cut(header, "<")
			if !found {
				return
			}
			target, rest, found := strings.Cut(rest, ">")
			if !found {
				return
			}
			end := endOfLink(rest)
			if !yield(target, rest[:end]) {
				return
			}
			header = rest[end:]
		}
	}
}

// endOfLink returns where the parameters of a link end: at a comma that stands
// in no quotes.
func endOfLink(s string) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case quoted && s[i] == '\\':
			i++
		case !quoted && s[i] == ',':
			return i
		}
	}
	return len(s)
}

func isNext(parameters string) bool {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		for relation := range strings.FieldsSeq(strings.Trim(strings.TrimSpace(value), `"`)) {
			if strings.EqualFold(relation, "next") {
				return true
			}
		}
	}
	return false
}
