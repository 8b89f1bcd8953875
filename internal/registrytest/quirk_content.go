package registrytest

import (
	"fmt"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// does returns a quirk of more steps.
func does(name string, steps ...step) Quirk {
	return Quirk{Name: name, apply: func(d *draft) { d.Then = append(d.Then, steps...) }}
}

const otherDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func headQuirks() []Quirk {
	headOfTag := match{Kind: "manifests", Method: http.MethodHead, ByTag: true}
	quirks := []Quirk{
		does("blobs are missing until they were got", headAfterGet),
		does("no lengths", dress(match{Method: http.MethodHead}, map[string]string{"Content-Length": ""})),
		does("no digests", dress(match{Method: http.MethodHead}, map[string]string{"Docker-Content-Digest": ""})),
		does("another digest of tags", dress(headOfTag, map[string]string{"Docker-Content-Digest": otherDigest})),
		does("another length of tags", dress(headOfTag, map[string]string{"Content-Length": "7"})),
		does("another type of tags", dress(headOfTag, map[string]string{"Content-Type": ocispec.MediaTypeImageManifest})),
		does("manifests are web pages", say(match{Kind: "manifests", Method: http.MethodHead}, Reply{Status: http.StatusOK, Type: html})),
	}
	for _, kind := range []string{"manifests", "blobs"} {
		quirks = append(quirks, does("to a page for "+kind, say(match{Kind: kind, Method: http.MethodHead},
			Reply{Status: http.StatusFound, Header: map[string]string{"Location": "/login?next=%2F"}})))
		for _, status := range []int{204, 400, 401, 403, 404, 405, 406, 408, 410, 412, 421, 500, 501, 502} {
			name := fmt.Sprintf("%d for %s", status, kind)
			quirks = append(quirks, does(name, say(match{Kind: kind, Method: http.MethodHead}, Reply{Status: status, Type: html})))
		}
	}
	return quirks
}

func headerQuirks() []Quirk {
	dressed := func(name string, m match, header map[string]string) Quirk { return does(name, dress(m, header)) }
	return []Quirk{
		dressed("no digests", match{}, map[string]string{"Docker-Content-Digest": ""}),
		dressed("no digest by tag", match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": ""}),
		dressed("an empty digest by tag", match{Kind: "manifests", Method: http.MethodGet, ByTag: true}, map[string]string{"Docker-Content-Digest": " ", "Etag": " "}),
		dressed("another digest of manifests", match{Kind: "manifests", Method: http.MethodGet}, map[string]string{"Docker-Content-Digest": otherDigest}),
		dressed("blobs are web pages", match{Kind: "blobs"}, map[string]string{"Content-Type": "text/html; charset=utf-8"}),
		dressed("blobs are of no type", match{Kind: "blobs"}, map[string]string{"Content-Type": ""}),
		dressed("blobs are binary/octet-stream", match{Kind: "blobs"}, map[string]string{"Content-Type": "binary/octet-stream"}),
		dressed("blobs say that they are compressed", match{Kind: "blobs"}, map[string]string{"Content-Encoding": "gzip"}),
		dressed("manifests say that they are compressed", match{Kind: "manifests"}, map[string]string{"Content-Encoding": "gzip"}),
		dressed("manifests are octets", match{Kind: "manifests"}, map[string]string{"Content-Type": "application/octet-stream"}),
		dressed("manifests of no type", match{Kind: "manifests"}, map[string]string{"Content-Type": ""}),
		dressed("no lengths", match{Method: http.MethodGet}, map[string]string{"Content-Length": ""}),
		does("no ranges", whole(match{})),
		does("types must be asked for", wantsType(match{}, problem(http.StatusNotFound, "MANIFEST_UNKNOWN", "not in Accept"))),
	}
}

func redirectQuirks() []Quirk {
	to := func(name string, r redirect) Quirk { return does(name, r.step) }
	const path = "/storage/{hex}?signature={id}"
	abroad := func(name string, strict bool) Quirk {
		return Quirk{Name: name, apply: func(d *draft) {
			other := artifactRegistry("abroad", "images/{name}", strict)
			other.AllPublic, other.Auth.HidesMissing = true, false
			d.Auth, d.AllPublic, d.Abroad, d.Inner = Authority{}, true, &other, "/v2/images/"
			d.Tags = other.Tags
			d.First = append(d.First, elsewhere)
		}}
	}
	return []Quirk{
		to("blobs, signed for the method", redirect{Kind: "blobs", To: path}),
		to("GET of blobs, signed for it", redirect{Kind: "blobs", Method: http.MethodGet, To: path}),
		to("blobs, 302, for any method", redirect{Kind: "blobs", Status: http.StatusFound, To: path, Unsigned: true}),
		to("blobs, a path of the same host", redirect{Kind: "blobs", Status: http.StatusFound, Home: true, To: path, Unsigned: true, Body: `{"errors":[]}`}),
		to("blobs without a range", redirect{Kind: "blobs", Method: http.MethodGet, Unranged: true, To: path}),
		to("blobs, 303", redirect{Kind: "blobs", Method: http.MethodGet, Status: http.StatusSeeOther, To: path}),
		to("blobs, 308", redirect{Kind: "blobs", Method: http.MethodGet, Status: http.StatusPermanentRedirect, To: path}),
		to("everything", redirect{Method: http.MethodGet, To: path}),
		to("everything, with a length and no body", redirect{Method: http.MethodGet, To: path, Header: map[string]string{"Content-Length": "{size}"}}),
		to("manifests, HEAD too", redirect{Kind: "manifests", To: path}),
		abroad("to another registry", false),
		abroad("to another registry that wants a token", true),
	}
}

func listQuirks() []Quirk {
	list := func(name string, l TagList) Quirk { return Quirk{Name: name, apply: func(d *draft) { d.Tags = l }} }
	const plainLink = `</v2/{name}/tags/list?n={n}&last={last}>; rel="next"`
	return []Quirk{
		list("oldest first, n=0 in links", TagList{Order: OldestFirst, Page: 10, Fixed: true, Link: `</v2/{name}/tags/list?last={last}&n=0>; rel="next"`}),
		list("pages of ten", TagList{Page: 10, Max: 10, Link: plainLink}),
		list("whole URLs", TagList{Page: 10, Link: `<{self}/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`}),
		list("URLs of another host", TagList{Page: 10, Link: `<https://registry.internal:5000/v2/{name}/tags/list?n={n}&last={last}>; rel="next"`}),
		list("links without brackets", TagList{Page: 10, Link: `{self}/v2/{name}/tags/list?n={n}&last={last}; rel=next`}),
		list("a link on a full page", TagList{Page: 10, Full: true, Link: plainLink}),
		list("always a link", TagList{Always: true, Link: `</v2/{name}/tags/list?last={last}>; rel="next"`}),
		list("an empty parameter", TagList{Page: 10, Link: `</v2/{name}/tags/list?last={last}&n={n}&orderby=>; rel="next"`}),
		list("no pages", TagList{Ignored: true, Member: `,"child":[],"manifest":{}`}),
		list("no pages and no order", TagList{Ignored: true, Order: ShuffledTags}),
		list("no links", TagList{}),
		list("404 for a last that is no tag", TagList{Page: 10, Link: plainLink, LastGone: Reply{Status: http.StatusNotFound}}),
	}
}

func referrersQuirks() []Quirk {
	return []Quirk{
		does("no route", noReferrers),
		does("another host, which is busy", referrersElsewhere),
		does("400 for what is no manifest", knownSubjects(problem(http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid"))),
		does("an index that is called JSON", dress(match{Kind: "referrers"}, map[string]string{"Content-Type": "application/json"})),
		does("the tag is the subject", noReferrers, tagIsSubject),
	}
}

func limitQuirks() []Quirk {
	var quirks []Quirk
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden} {
		quirks = append(quirks, Quirk{Name: fmt.Sprintf("two blobs at a time, %d for more", status), apply: func(d *draft) {
			r := problem(status, "TOOMANYREQUESTS", "too many requests")
			d.Then = append([]step{atOnce(match{Kind: "blobs", Method: http.MethodGet}, 2, r)}, d.Then...)
		}})
	}
	return quirks
}
