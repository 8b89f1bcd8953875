package registry

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// Router finds out which upstream and what in it a URL means. It is safe for
// concurrent use. The spellings,
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
// containerd sends with every request to a mirror; but a bare name such as
// "hub" may as well begin a repository, and gives way to ns.
//
// Slashes before the repository count once: an endpoint that ends in one is
// joined with a path that begins with one. Within the repository and after it
// there is one spelling only.
type Router struct {
	upstreams map[string]*Upstream
	fallback  string
	// names are the upstreams, sorted, without aliases.
	names []string
}

// NewRouter returns a Router for upstreams by their names and by each of their aliases,
// case-sensitive. Aliases are also what ns may say: registry-1.docker.io and
// index.docker.io reach Docker Hub if they stand here. fallback is a key of upstreams for
// requests that name no upstream at all; empty, or a key that is not there, refuses them.
func NewRouter(upstreams map[string]Upstream, fallback string) *Router {
	rt := &Router{upstreams: make(map[string]*Upstream, len(upstreams)), fallback: fallback}
	for name, up := range upstreams {
		rt.upstreams[name] = &up
		rt.names = append(rt.names, up.Name)
	}
	slices.Sort(rt.names)
	rt.names = slices.Compact(rt.names)
	return rt
}

// Route is what a URL means.
type Route struct {
	// Request has Kind, Upstream, Name, Repository and Reference. It is zero if Err is
	// not nil.
	Request oci.Request
	// Namespace is the value of ns if that selected the upstream.
	Namespace string
	// Err is why the URL is refused, an *oci.Error.
	Err error

	// upstream is where to push to what the URL means; empty = unknown.
	upstream string
}

const prefixMark = "proxy-"

// Route returns what a URL means. It reports false for what is left to other handlers of
// a server: all but what lies below /v2 or below /proxy-<upstream>/v2 of a configured
// upstream, and what looks like a pull or a ping of a registry but leads to none, which is
// refused.
func (rt *Router) Route(u *url.URL) (Route, bool) {
	path := u.EscapedPath()
	if up, rest, ok := rt.split(path); ok {
		return rt.parse(up, rest, u.RawQuery), true
	}
	if rt.astray(u) {
		return Route{Err: rt.errAstray(path)}, true
	}
	return Route{}, false
}

// split cuts an escaped path into the upstream that it names before /v2, if it
// does, and what follows /v2 and its slashes.
func (rt *Router) split(path string) (up *Upstream, rest string, ok bool) {
	rest, ok = strings.CutPrefix(path, "/")
	if name, after, found := strings.Cut(rest, "/"); found && strings.HasPrefix(name, prefixMark) {
		if up = rt.upstreams[unescapeColon(name[len(prefixMark):])]; up == nil {
			return nil, "", false
		}
		rest = strings.TrimLeft(after, "/")
	}
	rest, found := strings.CutPrefix(rest, "v2")
	return up, strings.TrimLeft(rest, "/"), ok && found && (rest == "" || rest[0] == '/')
}

// parse reads what follows the root. up is the upstream that stands before it; nil =
// none does.
func (rt *Router) parse(up *Upstream, path, query string) (route Route) {
	path, err := unescape(path)
	if err != nil {
		return Route{Err: err}
	}
	name, rest := path, path
	if up == nil {
		if up, name, rest, err = rt.prefix(path, query); err != nil {
			return Route{Err: err}
		}
	}
	prefixed := up != nil
	var namespace string
	var unknown error
	if !prefixed {
		up, namespace, unknown = rt.unprefixed(rest, query)
	}
	if up != nil {
		route.upstream = up.Name
	}
	r := oci.Request{Kind: oci.KindPing}
	if rest == "" {
		if prefixed {
			r.Upstream = up.Name
		}
		route.Request = r
		return route
	}
	if r, route.Err = endpoint(rest); route.Err == nil {
		route.Err = unknown
	}
	if route.Err != nil {
		return route
	}
	r.Upstream = up.Name
	// What the prefix takes away from the path belongs to the client's name.
	r.Name = name[:len(name)-len(rest)+len(r.Repository)]
	r.Repository = oci.CanonicalRepository(up.Name, r.Repository)
	if route.Err = oci.CheckRepository(r.Repository); route.Err == nil {
		route.Request, route.Namespace = r, namespace
	}
	return route
}

// unescape replaces %3A in the first component, where it is the colon of a port,
// and in the last one, where it is that of a digest. No client has a reason to
// escape anything else, and two spellings of one name are what attacks on access
// rules are made of: a colon is in no repository.
func unescape(path string) (string, error) {
	if !strings.Contains(path, "%") {
		return path, nil
	}
	first, rest, more := strings.Cut(path, "/")
	path = unescapeColon(first)
	if more {
		i := strings.LastIndexByte(rest, '/') + 1
		path += "/" + rest[:i] + unescapeColon(rest[i:])
	}
	if strings.Contains(path, "%") {
		return "", oci.NewError(oci.CodeNameInvalid,
			"a path of this API has no percent-encoding but %3A, in the port of an upstream and in a digest")
	}
	return path, nil
}

func unescapeColon(component string) string {
	if !strings.Contains(component, "%") {
		return component
	}
	return strings.ReplaceAll(strings.ReplaceAll(component, "%3A", ":"), "%3a", ":")
}

// prefix cuts the prefix off what follows the root. It returns no upstream if
// there is none, and in name what the client takes for the root's content: from
// the inner v2 on, or with the prefix and without doubled slashes.
func (rt *Router) prefix(path, query string) (up *Upstream, name, rest string, err error) {
	component, after, _ := strings.Cut(path, "/")
	up = rt.upstreams[component]
	switch bare, marked := cutMark(component); {
	case up != nil && !marked && !oci.IsRegistry(component) && after != "" && hasNamespace(query):
		return nil, path, path, nil
	case up == nil && marked:
		if !strings.HasPrefix(component, prefixMark) {
			bare = component // a slip by itself
		}
		if up = rt.upstreams[bare]; up == nil {
			return nil, "", "", rt.errUnknown(bare, after)
		}
	case up == nil:
		return nil, path, path, nil
	}
	name, rest = path, strings.TrimLeft(after, "/")
	if len(rest) != len(after) {
		name = component + "/" + rest
	}
	if inner, ok := cutInnerRoot(rest); ok {
		name, rest = inner, inner
	}
	return up, name, rest, nil
}

// hasNamespace reports whether a query has an ns, or may have one.
func hasNamespace(query string) bool {
	values, err := url.ParseQuery(query)
	return err != nil || values.Has("ns")
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
	return strings.TrimLeft(rest, "/"), true
}

// unprefixed returns the upstream of a path without prefix.
func (rt *Router) unprefixed(path, query string) (*Upstream, string, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, "", errQuery("the query is malformed")
	}
	switch ns := values["ns"]; len(ns) {
	case 0:
	case 1:
		up := rt.upstreams[ns[0]]
		if up == nil {
			return nil, "", rt.errUnknown(ns[0], path)
		}
		return up, ns[0], nil
	default:
		return nil, "", errQuery("the query has more than one ns")
	}
	component, rest, _ := strings.Cut(path, "/")
	if oci.IsRegistry(component) {
		return nil, "", rt.errUnknown(component, rest)
	}
	up := rt.upstreams[rt.fallback]
	if up == nil {
		return nil, "", rt.errNameless()
	}
	return up, "", nil
}

// endpoint reads <repository>/<kind>/<reference>. The repository is not checked
// and Upstream is not set.
func endpoint(path string) (r oci.Request, err error) {
	head, tail := cutLast(path)
	repository, word := cutLast(head)
	if !endpointWord(word, tail) {
		return r, errNoEndpoint()
	}
	r.Repository = repository
	switch word {
	case "manifests":
		r.Kind = oci.KindManifest
		r.Reference, err = oci.ParseReference(tail)
	case "blobs":
		r.Kind = oci.KindBlob
		r.Reference.Digest, err = oci.ParseDigest(tail)
	case "referrers":
		r.Kind = oci.KindReferrers
		r.Reference.Digest, err = oci.ParseDigest(tail)
	case "tags":
		r.Kind = oci.KindTags
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
