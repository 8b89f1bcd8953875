package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// router finds out which upstream and what in it a path means. The spellings,
// for the repository r of the upstream u:
//
//	/v2/proxy-u/r/…      a prefix, as Harbor has it
//	/v2/proxy-u/v2/r/…   what containerd makes of a mirror http://m/v2/proxy-u
//	/v2/u/r/…            by the name of the registry, also with the inner v2
//	/proxy-u/v2/r/…      what a Docker daemon makes of a mirror http://m/proxy-u
//	/v2/r/…?ns=u         what containerd makes of a mirror http://m
//	/v2/r/…              of the fallback, if there is one
//
// A first component that begins with "proxy-" is a prefix, known or not; a
// repository of that name is reached through one of the other prefixes. The
// same goes without ns for one that looks like a registry's host, so that a
// mirror set up for an upstream that is not configured fails, rather than
// reaching a repository of another upstream. A prefix goes before ns, which
// containerd sends with every request to a mirror.
type router struct {
	upstreams map[string]*Upstream
	fallback  string
}

func newRouter(upstreams map[string]Upstream, fallback string) router {
	rt := router{upstreams: make(map[string]*Upstream, len(upstreams)), fallback: fallback}
	for name, up := range upstreams {
		rt.upstreams[name] = &up
	}
	return rt
}

// route is a parsed request.
type route struct {
	request oci.Request
	// namespace is the value of ns if that selected the upstream.
	namespace string
}

const prefixMark = "proxy-"

// serves reports whether a path is one of the API.
func (rt router) serves(path string) bool {
	_, _, ok := rt.split(path)
	return ok
}

// split cuts a path into the upstream that it names before /v2, if it does, and
// what follows /v2, with its slash.
func (rt router) split(path string) (up *Upstream, rest string, ok bool) {
	if rest, ok = strings.CutPrefix(path, "/"+prefixMark); ok {
		name, rest, _ := strings.Cut(rest, "/")
		if up = rt.upstreams[name]; up == nil {
			return nil, "", false
		}
		path = "/" + rest
	}
	rest, ok = strings.CutPrefix(path, "/v2")
	return up, rest, ok && (rest == "" || rest[0] == '/')
}

// parse reads an escaped path and a raw query. Its errors are *oci.Error.
func (rt router) parse(path, query string) (route, error) {
	up, rest, ok := rt.split(path)
	if !ok {
		return route{}, errNoRoot()
	}
	rest, err := unescape(strings.TrimPrefix(rest, "/"))
	if err != nil {
		return route{}, err
	}
	name := rest // as the client means it, after the root of its API
	if up == nil {
		if up, rest, err = rt.prefix(rest); err != nil {
			return route{}, err
		}
		if inner, ok := cutInnerRoot(rest); up != nil && ok {
			name, rest = inner, inner
		}
	}
	if rest == "" {
		r := route{request: oci.Request{Kind: oci.KindPing}}
		if up != nil {
			r.request.Upstream = up.Name
		}
		return r, nil
	}
	r, err := endpoint(rest)
	if err != nil {
		return route{}, err
	}
	if up == nil {
		if up, r.namespace, err = rt.unprefixed(rest, query); err != nil {
			return route{}, err
		}
	}
	r.request.Upstream = up.Name
	// What the prefix takes away from the path belongs to the client's name.
	r.request.Name = name[:len(name)-len(rest)+len(r.request.Repository)]
	r.request.Repository = oci.CanonicalRepository(up.Name, r.request.Repository)
	if err := oci.CheckRepository(r.request.Repository); err != nil {
		return route{}, err
	}
	return r, nil
}

// unescape replaces %3A in the last component, where it is the colon of a
// digest. No client has a reason to escape anything else, and two spellings of
// one name are what attacks on access rules are made of.
func unescape(path string) (string, error) {
	i := strings.LastIndexByte(path, '/') + 1
	if reference := path[i:]; strings.Contains(reference, "%") {
		path = path[:i] + strings.ReplaceAll(strings.ReplaceAll(reference, "%3A", ":"), "%3a", ":")
	}
	if strings.Contains(path, "%") {
		return "", oci.NewError(oci.CodeNameInvalid, "a path of this API has no percent-encoding but %3A in a digest")
	}
	return path, nil
}

// prefix cuts the prefix off a path. It returns nil if there is none.
func (rt router) prefix(path string) (*Upstream, string, error) {
	component, rest, _ := strings.Cut(path, "/")
	if up := rt.upstreams[component]; up != nil {
		return up, rest, nil
	}
	if len(component) < len(prefixMark) || !strings.EqualFold(component[:len(prefixMark)], prefixMark) {
		return nil, path, nil
	}
	name, exact := strings.CutPrefix(component, prefixMark)
	if up := rt.upstreams[name]; up != nil && exact {
		return up, rest, nil
	}
	return nil, "", errUnknownUpstream(component[len(prefixMark):])
}

// cutInnerRoot cuts a second v2 after the prefix, unless it is a repository of
// that name.
func cutInnerRoot(path string) (string, bool) {
	if path == "v2" {
		return "", true
	}
	rest, ok := strings.CutPrefix(path, "v2/")
	if !ok {
		return "", false
	}
	word, tail, _ := strings.Cut(rest, "/")
	if endpointWord(word, tail) && !strings.Contains(tail, "/") {
		return "", false
	}
	return rest, true
}

// unprefixed returns the upstream of a path without prefix.
func (rt router) unprefixed(path, query string) (*Upstream, string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", errQuery("the query is malformed")
	}
	switch ns := values["ns"]; len(ns) {
	case 0:
	case 1:
		up := rt.upstreams[ns[0]]
		if up == nil {
			return nil, "", errUnknownUpstream(ns[0])
		}
		return up, ns[0], nil
	default:
		return nil, "", errQuery("the query has more than one ns")
	}
	component, _, _ := strings.Cut(path, "/")
	if strings.ContainsAny(component, ".:") || component == "localhost" {
		return nil, "", errUnknownUpstream(component)
	}
	up := rt.upstreams[rt.fallback]
	if up == nil {
		return nil, "", oci.NewError(oci.CodeNameUnknown,
			"this path names no upstream and there is no default one: pull through /v2/proxy-<upstream>/<repository>")
	}
	return up, "", nil
}

// endpoint reads <repository>/<kind>/<reference>. The repository is not checked
// and Upstream is not set.
func endpoint(path string) (route, error) {
	var r route
	head, tail := cutLast(path)
	repository, word := cutLast(head)
	if !endpointWord(word, tail) {
		return r, errNoEndpoint()
	}
	r.request.Repository = repository
	var err error
	switch word {
	case "manifests":
		r.request.Kind = oci.KindManifest
		r.request.Reference, err = oci.ParseReference(tail)
	case "blobs":
		r.request.Kind = oci.KindBlob
		r.request.Reference.Digest, err = oci.ParseDigest(tail)
	case "referrers":
		r.request.Kind = oci.KindReferrers
		r.request.Reference.Digest, err = oci.ParseDigest(tail)
	case "tags":
		r.request.Kind = oci.KindTags
	}
	return r, err
}

func endpointWord(word, tail string) bool {
	switch word {
	case "manifests", "blobs", "referrers":
		return tail != ""
	case "tags":
		return tail == "list"
	}
	return false
}

// cutLast cuts s around its last slash; without one, all of s comes after.
func cutLast(s string) (before, after string) {
	i := strings.LastIndexByte(s, '/')
	return s[:max(i, 0)], s[i+1:]
}

func errUnknownUpstream(name string) error {
	return oci.NewError(oci.CodeNameUnknown, fmt.Sprintf(
		"no upstream is configured here under the name %.128q: add it to registry_mirror in the Caddyfile", name))
}

// rootless reports whether a URL is containerd's, with an endpoint of the API in
// its path, but no root.
func rootless(u *url.URL) bool {
	return strings.Contains(u.RawQuery, "ns=") &&
		(strings.Contains(u.Path, "/manifests/") || strings.Contains(u.Path, "/blobs/"))
}

func errNoRoot() error {
	return &oci.Error{
		Code: oci.CodeUnsupported, Status: http.StatusNotFound,
		Message: "this path lacks the /v2 of the pull API: with override_path, a mirror's URL ends in /v2/proxy-<upstream>",
	}
}

func errNoEndpoint() error {
	return &oci.Error{
		Code: oci.CodeUnsupported, Status: http.StatusNotFound,
		Message: "this is no endpoint of the pull API: there are manifests, blobs, tags/list and referrers",
	}
}

// errQuery is for what the spec has no code of its own for.
func errQuery(message string) error {
	return &oci.Error{Code: oci.CodeUnsupported, Status: http.StatusBadRequest, Message: message}
}
