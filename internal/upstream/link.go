package upstream

import (
	"errors"
	"net/url"
	"strings"
)

// maxLinkQuery bounds the query of a link, and maxLink a whole header. The queries of
// registries are some 200 bytes, with the longest cursors 2,000.
const (
	maxLinkQuery = 8 << 10
	maxLink      = 32 << 10
)

var errLink = errors.New("a Link header that cannot be read")

// nextPage returns the query of the page that Link headers call next (RFC 8288);
// nil = this page is the last one. Of the link's target only the query counts:
// behind gateways scheme, host, port and path are often wrong, and so the link
// cannot lead elsewhere either. It is an error if a header may mean a next page and
// cannot be read: the list would end early.
func nextPage(headers []string, asked url.Values) (url.Values, error) {
	var next url.Values
	var unreadable error
	for _, header := range headers {
		links, err := parseLinks(header)
		if err != nil {
			unreadable = err
		}
		for _, l := range links {
			if !l.isNext() {
				continue
			}
			query := queryOf(l.target)
			switch {
			case len(query) == 0:
				unreadable = errLink
			case next == nil, next.Encode() == asked.Encode(): // another one may lead on
				next = query
			}
		}
	}
	if next == nil {
		return nil, unreadable
	}
	return next, nil
}

// queryOf returns the query of a link's target. What is no URL may have one, too.
func queryOf(target string) url.Values {
	_, raw, _ := strings.Cut(target, "?")
	raw, _, _ = strings.Cut(raw, "#")
	query := url.Values{}
	for parameter := range strings.SplitSeq(raw, "&") {
		if parameter == "" {
			continue
		}
		name, value, _ := strings.Cut(parameter, "=")
		query.Add(unescape(name), unescape(value))
	}
	if len(query.Encode()) > maxLinkQuery { // as it is sent: bytes that were not escaped become three
		return nil
	}
	return query
}

// unescape returns what is no escaped text as it stands.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// link is one link of a header, and the relation types that it has.
type link struct {
	target string
	rels   []string
}

// isNext reports whether a link leads to the next page. One that does not say where
// it leads to stands for that, too: clients of registries read it so.
func (l link) isNext() bool {
	for _, rel := range l.rels {
		if strings.EqualFold(rel, "next") {
			return true
		}
	}
	return len(l.rels) == 0
}

// parseLinks reads the links of a header up to the first that cannot be read.
func parseLinks(header string) (links []link, err error) {
	if len(header) > maxLink {
		return nil, errLink
	}
	for {
		header = strings.TrimLeft(header, " \t,")
		if header == "" {
			return links, nil
		}
		target, rest, ok := cutTarget(header)
		if !ok {
			return links, errLink
		}
		l := link{target: target}
		l.rels, header = cutParameters(rest)
		links = append(links, l)
	}
}

// cutTarget parts the target of a link from what follows. Cloudflare's registry
// writes it without the angle brackets.
func cutTarget(s string) (target, rest string, ok bool) {
	if inner, found := strings.CutPrefix(s, "<"); found {
		target, rest, ok = strings.Cut(inner, ">")
		return strings.TrimSpace(target), rest, ok
	}
	end := strings.IndexByte(s, ';')
	if end < 0 {
		end = len(s)
	}
	if comma := strings.Index(s[:end], ", "); comma >= 0 {
		end = comma
	}
	target = strings.Trim(s[:end], " \t,")
	return target, s[end:], strings.ContainsAny(target, "/?")
}

// cutParameters reads the parameters of a link, and returns its relation types and
// what follows the link.
func cutParameters(s string) (rels []string, rest string) {
	for {
		s = strings.TrimLeft(s, " \t")
		if s == "" || s[0] == ',' {
			return rels, s
		}
		s = strings.TrimLeft(s, "; \t")
		end := strings.IndexAny(s, "=;,")
		if end < 0 {
			return rels, ""
		}
		name, value := strings.TrimSpace(s[:end]), ""
		if s = s[end:]; s[0] == '=' {
			value, s = cutLinkValue(strings.TrimLeft(s[1:], " \t"))
		}
		if strings.EqualFold(name, "rel") {
			rels = append(rels, strings.Fields(value)...)
		}
	}
}

// cutLinkValue parts the value of a parameter, without its quotes, from what follows.
func cutLinkValue(s string) (value, rest string) {
	if quote := strings.IndexAny(s, `"'`); quote == 0 {
		for i := 1; i < len(s); i++ {
			switch s[i] {
			case '\\':
				i++
			case s[0]:
				return s[1:i], s[i+1:]
			}
		}
		return s[1:], ""
	}
	end := strings.IndexAny(s, ";,")
	if end < 0 {
		end = len(s)
	}
	return strings.TrimSpace(s[:end]), s[end:]
}
