package registrytest

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Match selects requests: "" is any. ByTag selects manifests that are asked for by
// a tag.
type Match struct {
	Kind, Method string
	ByTag        bool
}

func (m Match) of(v *Visit) bool {
	return (m.Kind == "" || m.Kind == v.kind) && (m.Method == "" || m.Method == v.r.Method) &&
		(!m.ByTag || !strings.Contains(v.reference, ":"))
}

// Say answers the requests that match.
func Say(m Match, r Reply) Step {
	return func(v *Visit, next func(*Visit)) {
		if m.of(v) {
			v.reply(r)
			return
		}
		next(v)
	}
}

// noReferrers is a route that is not there.
func noReferrers(v *Visit, next func(*Visit)) {
	Say(Match{Kind: "referrers"}, Reply{Status: http.StatusNotFound, Type: plain, Body: "404 page not found\n"})(v, next)
}

// Dress adds headers to good answers; one that is empty is removed, one that is a
// single space is sent empty.
func Dress(m Match, header map[string]string) Step {
	return func(v *Visit, next func(*Visit)) {
		if !m.of(v) {
			next(v)
			return
		}
		texts := make(map[string]string, len(header))
		for name, value := range header {
			texts[name] = v.expand(value)
		}
		next(v.through(&dressedWriter{ResponseWriter: v.w, header: texts}))
	}
}

// through returns the visit with another writer.
func (v *Visit) through(w http.ResponseWriter) *Visit {
	dressed := *v
	dressed.w = w
	return &dressed
}

type dressedWriter struct {
	http.ResponseWriter

	header map[string]string
	begun  bool
}

func (w *dressedWriter) WriteHeader(status int) {
	w.begun = true
	for name, value := range w.header {
		if status >= 300 {
			break
		}
		w.Header()[http.CanonicalHeaderKey(name)] = nil // and no guess of net/http's instead
		if value != "" {
			w.Header().Set(name, strings.TrimSpace(value))
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *dressedWriter) Write(p []byte) (int, error) {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(p)
}

// Whole ignores ranges.
func Whole(m Match) Step {
	return func(v *Visit, next func(*Visit)) {
		if m.of(v) {
			whole := *v
			whole.r = v.r.Clone(v.r.Context())
			whole.r.Header.Del("Range")
			v = &whole
		}
		next(v)
	}
}

// HeadAfterGet answers HEADs of blobs as missing until somebody has got them.
func HeadAfterGet(v *Visit, next func(*Visit)) {
	if v.kind == "blobs" && v.r.Method == http.MethodHead && !v.repo.wasGiven(v.digest()) {
		v.missing(false)
		return
	}
	next(v)
}

// ManifestFirst answers for blobs as missing until a manifest that names them was
// got from the same repository.
func ManifestFirst(v *Visit, next func(*Visit)) {
	if v.kind == "blobs" && !v.repo.wasNamed(v.digest()) {
		v.missing(false)
		return
	}
	next(v)
}

// HeadFetches has a HEAD of a manifest bring in what a GET does.
func HeadFetches(v *Visit, next func(*Visit)) {
	if d, ok := v.resolve(); ok && v.kind == "manifests" {
		v.repo.give(d)
	}
	next(v)
}

// WantsType answers for a manifest whose type stands not in Accept.
func WantsType(m Match, r Reply) Step {
	return func(v *Visit, next func(*Visit)) {
		if _, found, ok := v.repo.resolve(v.reference); ok && v.kind == "manifests" && m.of(v) && !v.accepts(found.mediaType) {
			v.reply(r)
			return
		}
		next(v)
	}
}

// AtMost answers for a tag list of more than n tags at a time.
func AtMost(n int, r Reply) Step {
	return func(v *Visit, next func(*Visit)) {
		if asked, err := strconv.Atoi(v.r.URL.Query().Get("n")); err == nil && v.kind == "tags" && asked > n {
			v.reply(r)
			return
		}
		next(v)
	}
}

// KnownSubjects answers a question for referrers of what is no manifest here.
func KnownSubjects(r Reply) Step {
	return func(v *Visit, next func(*Visit)) {
		if _, ok := v.resolve(); v.kind == "referrers" && v.repo != nil && !ok {
			v.reply(r)
			return
		}
		next(v)
	}
}

// TagIsSubject answers for the tag that stands in for the referrers of a digest
// with the manifest of that digest.
func TagIsSubject(v *Visit, next func(*Visit)) {
	if hex, ok := strings.CutPrefix(v.reference, "sha256-"); ok && v.kind == "manifests" {
		subject := *v
		subject.reference = "sha256:" + hex
		v = &subject
	}
	next(v)
}

// AtOnce answers n of the requests that match at a time, each of them slowly, and the
// others in another way.
func AtOnce(m Match, n int, r Reply) Step {
	places := make(chan struct{}, n)
	return func(v *Visit, next func(*Visit)) {
		if !m.of(v) {
			next(v)
			return
		}
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			time.Sleep(5 * time.Millisecond)
			next(v)
		default:
			v.reply(r)
		}
	}
}
