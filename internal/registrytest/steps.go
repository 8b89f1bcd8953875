package registrytest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// match selects requests: "" is any. ByTag selects manifests that are asked for by
// a tag.
type match struct {
	Kind, Method string
	ByTag        bool
}

func (m match) of(v *visit) bool {
	return (m.Kind == "" || m.Kind == v.kind) && (m.Method == "" || m.Method == v.r.Method) &&
		(!m.ByTag || !strings.Contains(v.reference, ":"))
}

// when takes the step for the requests that is reports true for.
func when(is func(*visit) bool, s step) step {
	return func(v *visit, next func(*visit)) {
		if is(v) {
			s(v, next)
			return
		}
		next(v)
	}
}

// say answers the requests that match.
func say(m match, r Reply) step { return when(m.of, always(r)) }

// always is the answer to everything.
func always(r Reply) step { return func(v *visit, _ func(*visit)) { v.reply(r) } }

// missing answers as for what is not there.
func missing(v *visit, _ func(*visit)) { v.missing(false) }

// noReferrers is a route that is not there.
func noReferrers(v *visit, next func(*visit)) {
	say(match{Kind: "referrers"}, Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found\n"})(v, next)
}

// dress adds headers to good answers; one that is empty is removed, one that is a
// single space is sent empty.
func dress(m match, header map[string]string) step {
	return when(m.of, func(v *visit, next func(*visit)) {
		dressed := *v
		dressed.w = &spoiledWriter{ResponseWriter: v.w, spoil: Spoil{Header: func(h http.Header) {
			for name, value := range header {
				h[http.CanonicalHeaderKey(name)] = nil // and no guess of net/http's instead
				if value = v.expand(value); value != "" {
					h.Set(name, strings.TrimSpace(value))
				}
			}
		}}, onlyGood: true}
		next(&dressed)
	})
}

// whole ignores ranges.
func whole(m match) step {
	return when(m.of, func(v *visit, next func(*visit)) {
		unranged := *v
		unranged.r = v.r.Clone(v.r.Context())
		unranged.r.Header.Del("Range")
		next(&unranged)
	})
}

// headAfterGet answers HEADs of blobs as missing until somebody has got them.
func headAfterGet(v *visit, next func(*visit)) {
	when(func(v *visit) bool {
		return v.kind == "blobs" && v.r.Method == http.MethodHead && !v.repo.wasGiven(v.digest())
	}, missing)(v, next)
}

// manifestFirst answers for blobs as missing until a manifest that names them was
// got from the same repository.
func manifestFirst(v *visit, next func(*visit)) {
	when(func(v *visit) bool { return v.kind == "blobs" && !v.repo.wasNamed(v.digest()) }, missing)(v, next)
}

// headFetches has a HEAD of a manifest bring in what a GET does.
func headFetches(v *visit, next func(*visit)) {
	if d, ok := v.resolve(); ok && v.kind == "manifests" {
		v.repo.give(d)
	}
	next(v)
}

// wantsType answers for a manifest whose type stands not in Accept.
func wantsType(m match, r Reply) step {
	return when(func(v *visit) bool {
		_, found, ok := v.repo.resolve(v.reference)
		return ok && v.kind == "manifests" && m.of(v) && !v.accepts(found.mediaType)
	}, always(r))
}

// atMost answers for a tag list of more than n tags at a time.
func atMost(n int, r Reply) step {
	return when(func(v *visit) bool {
		asked, err := strconv.Atoi(v.r.URL.Query().Get("n"))
		return err == nil && v.kind == "tags" && asked > n
	}, always(r))
}

// knownSubjects answers a question for referrers of what is no manifest here.
func knownSubjects(r Reply) step {
	return when(func(v *visit) bool {
		_, ok := v.resolve()
		return v.kind == "referrers" && v.repo != nil && !ok
	}, always(r))
}

// tagIsSubject answers for the tag that stands in for the referrers of a digest
// with the manifest of that digest.
func tagIsSubject(v *visit, next func(*visit)) {
	if hex, ok := strings.CutPrefix(v.reference, "sha256-"); ok && v.kind == "manifests" {
		subject := *v
		subject.reference = "sha256:" + hex
		v = &subject
	}
	next(v)
}

// atOnce answers n of the requests that match at a time, each of them slowly, and the
// others in another way.
func atOnce(m match, n int, r Reply) step {
	places := make(chan struct{}, n)
	return when(m.of, func(v *visit, next func(*visit)) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			time.Sleep(5 * time.Millisecond)
			next(v)
		default:
			v.reply(r)
		}
	})
}
