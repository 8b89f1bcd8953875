package registry

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/internal/nearest"
	"github.com/pullgate/pullgate/internal/oci"
)

// maxNames is how many upstreams a message names.
const maxNames = 10

// astray reports whether a URL that no root leads to is meant for a registry all
// the same: by a client whose mirror's URL is wrong. An empty 200 of the
// next handler in the server would pass for a registry, or end the pull, where a 404 with
// a reason sends the client to the next host. It looks at the path as it is meant,
// decoded and cleaned, since all that follows is a refusal. What other handlers of
// a site may well serve is left to them.
func (rt *Router) astray(u *url.URL) bool {
	cleaned := path.Clean(u.Path)
	if !strings.HasPrefix(cleaned, "/") {
		return false
	}
	if _, _, ok := misplaced(u.Path); ok {
		return true
	}
	cleaned = cleaned[1:]
	if rooted(cleaned) {
		return true // slashes doubled before the root, or letters of it escaped
	}
	first, rest, _ := strings.Cut(cleaned, "/")
	name, marked := cutMark(first)
	known := rt.upstreams[name] != nil
	host := hostLike(name) || known && oci.IsRegistry(name)
	switch {
	case marked && known:
		return true
	case rooted(rest):
		below := strings.TrimPrefix(rest[len("v2"):], "/")
		if marked || host {
			return below == "" || below == "_catalog" || strings.Contains(below, "/")
		}
		// A bare word is a name that others use, too.
		return known && (below == "" || pullShaped(below))
	case (marked || host) && pullShaped(rest):
		return true
	}
	return u.RawQuery != "" && pullShaped(cleaned) && rt.namesRegistry(u.RawQuery)
}

// misplaced returns the name and the rest of a pull below a prefix that the gateway does
// not have, such as /mirror/v2/proxy-<name>/<rest>: a handler that strips the prefix was
// left out, or the client's URL is wrong.
func misplaced(p string) (name, rest string, ok bool) {
	const root = "/v2/"
	left := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") {
		left += "/" // it ends the name
	}
	for {
		i := strings.Index(left, root)
		if i < 0 {
			return "", "", false
		}
		first, rest, more := strings.Cut(left[i+len(root):], "/")
		if name, marked := cutMark(first); marked && more && name != "" {
			return name, rest, true
		}
		left = left[i+len(root)-1:] // the slash may begin the next
	}
}

// namesRegistry reports whether a query has containerd's ns. Elsewhere ns is
// short for a namespace.
func (rt *Router) namesRegistry(query string) bool {
	values, err := url.ParseQuery(query)
	ns := values.Get("ns")
	return err == nil && (rt.upstreams[ns] != nil || hostLike(ns))
}

// rooted reports whether a path without its first slash begins with the root.
func rooted(path string) bool {
	rest, ok := strings.CutPrefix(path, "v2")
	return ok && (rest == "" || rest[0] == '/')
}

// cutMark cuts the mark of a prefix, in whatever case.
func cutMark(component string) (name string, marked bool) {
	if len(component) < len(prefixMark) || !strings.EqualFold(component[:len(prefixMark)], prefixMark) {
		return component, false
	}
	return component[len(prefixMark):], true
}

// pullShaped reports whether a path ends as those of pulls do, after a repository.
func pullShaped(path string) bool {
	head, tail := cutLast(path)
	repository, word := cutLast(head)
	if repository == "" || !endpointWord(word, tail) {
		return false
	}
	return word == "manifests" || word == "tags" || strings.Contains(tail, ":")
}

// hostLike reports whether a name can only be that of a registry's host, and not
// a version ("v3.21"), which oci.IsRegistry does not tell from one.
func hostLike(name string) bool {
	host, port, ported := strings.Cut(name, ":")
	if ported {
		_, digits := parsePosition(port)
		return host != "" && digits
	}
	i := strings.LastIndexByte(host, '.')
	if i < 0 {
		return host == "localhost"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	top := host[i+1:]
	return i > 0 && len(top) > 1 && !strings.ContainsFunc(top, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
}

// errAstray is the answer to what leads to no registry.
func (rt *Router) errAstray(escaped string) error {
	decoded, err := url.PathUnescape(escaped)
	if err != nil {
		decoded = escaped
	}
	name, rest, marked := misplaced(decoded)
	if !marked {
		var first string
		first, rest, _ = strings.Cut(strings.TrimPrefix(path.Clean("/"+decoded), "/"), "/")
		name, marked = cutMark(first)
	}
	switch known := rt.upstreams[name] != nil; {
	case !known && (marked || hostLike(name)):
		return rt.errUnknown(name, rest)
	case !known:
		name = "<upstream>"
	}
	return &oci.Error{
		Code: oci.CodeUnsupported, Status: http.StatusNotFound,
		Message: fmt.Sprintf("this path leads to no registry: pull through /v2/proxy-%[1]s/<repository>, "+
			"or give a mirror the URL /v2/proxy-%[1]s with override_path and /proxy-%[1]s without; %[2]s", name, rt.list()),
	}
}

// errUnknown is the answer to a name that no upstream has. rest is what follows it
// in the path, if anything does.
func (rt *Router) errUnknown(name, rest string) error {
	message := fmt.Sprintf("no upstream is configured here under the name %.128q", name)
	rest = strings.TrimLeft(rest, "/")
	if inner, ok := cutInnerRoot(rest); ok {
		rest = inner
	}
	if r, err := endpoint(rest); err == nil && len(name) <= 128 && oci.CheckRepository(r.Repository) == nil {
		message = imageName(name, r) + ": " + message
	}
	if near := rt.nearest(name); near != "" {
		message += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return oci.NewError(oci.CodeNameUnknown, message+": "+rt.list()+
		"; pull through /v2/proxy-<upstream>/<repository>, or add an upstream to registry_mirror in the Caddyfile")
}

// errNameless is the answer to what names no upstream at all.
func (rt *Router) errNameless() error {
	return oci.NewError(oci.CodeNameUnknown,
		"this path names no upstream and there is no default one: pull through /v2/proxy-<upstream>/<repository>; "+rt.list())
}

// errReadOnly is the answer to what would write.
func (r Route) errReadOnly() error {
	where := r.upstream
	if where == "" {
		where = "the upstream"
	}
	return oci.NewError(oci.CodeUnsupported, "this registry is a read-only mirror: push to "+where+" itself")
}

// list names the configured upstreams, as many as a message has room for.
func (rt *Router) list() string {
	switch n := len(rt.names); {
	case n == 0:
		return "there is no upstream here"
	case n == 1:
		return "the upstream here is " + rt.names[0]
	case n > maxNames:
		return fmt.Sprintf("the upstreams here are %s and %d more", strings.Join(rt.names[:maxNames], ", "), n-maxNames)
	default:
		return fmt.Sprintf("the upstreams here are %s and %s", strings.Join(rt.names[:n-1], ", "), rt.names[n-1])
	}
}

// nearest returns the configured name or alias that a name is a slip of; empty =
// none.
func (rt *Router) nearest(name string) string {
	return nearest.Name(strings.TrimPrefix(strings.ToLower(name), prefixMark), slices.Collect(maps.Keys(rt.upstreams)))
}

// imageName returns what a request asks for, as people write it, of an upstream
// under the name that its client knows.
func imageName(upstream string, r oci.Request) string {
	return oci.Selection{Upstream: upstream, Repository: r.Repository, Reference: r.Reference}.String()
}
