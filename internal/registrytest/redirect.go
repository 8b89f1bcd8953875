package registrytest

import (
	"cmp"
	"net/http"
	"strconv"
	"strings"
)

// redirect leads to a URL that is made for one request.
type redirect struct {
	// Kind is "blobs", or "manifests", or "" for both; Method "" is GET and HEAD.
	Kind, Method string
	// Unranged is for requests without a Range only.
	Unranged bool
	// Status is that of the redirect; default 307.
	Status int
	// Home leads to a path of the same host, others to the CDN.
	Home bool
	// To is path and query: {id} is different each time.
	To string
	// Unsigned URLs are good for any method, others only for that of the request.
	Unsigned bool
	// Type and Body are those of the redirect itself, Header are more of its
	// headers. {size} is the length of what it leads to.
	Type, Body string
	Header     map[string]string
	// Answer are headers of the answer that it leads to.
	Answer map[string]string
}

// step answers what exists with the redirect.
func (d redirect) step(v *visit, next func(*visit)) {
	l, ok := v.aim()
	if !ok || d.Kind != "" && d.Kind != v.kind || d.Method != "" && d.Method != v.r.Method ||
		d.Unranged && v.r.Header.Get("Range") != "" {
		next(v)
		return
	}
	given, _ := v.resolve()
	v.given(given)
	if !d.Unsigned {
		l.method = v.r.Method
	}
	for name, value := range d.Answer {
		l.header[name] = v.expand(value)
	}
	header := map[string]string{}
	for name, value := range d.Header {
		header[name] = strings.ReplaceAll(value, "{size}", strconv.Itoa(len(l.content())))
	}
	v.redirect(cmp.Or(d.Status, http.StatusTemporaryRedirect), d.Home, d.To, l, Reply{Type: d.Type, Body: d.Body, Header: header})
}

// aim returns a link to what a visit asks for.
func (v *visit) aim() (link, bool) {
	d, m, ok := v.repo.resolve(v.reference)
	content, mediaType := func() []byte { return m.raw }, m.mediaType
	if v.kind == "blobs" {
		content, mediaType = v.repo.blob(d), "application/octet-stream"
		ok = content != nil
	}
	if !ok || v.kind != "manifests" && v.kind != "blobs" {
		return link{}, false
	}
	return link{kind: v.kind, header: map[string]string{"Content-Type": mediaType}, content: content}, true
}

// redirect leads to a link.
func (v *visit) redirect(status int, home bool, to string, l link, r Reply) {
	to = v.server.links.add(v.expand(to), l)
	if !home {
		to = v.server.cdn.URL + to
	}
	v.w.Header().Set("Location", to)
	r.Status, r.Type = status, cmp.Or(r.Type, "application/octet-stream")
	v.reply(r)
}

// elsewhere redirects everything to the registry abroad; the query is lost on the way.
func elsewhere(v *visit, next func(*visit)) {
	if v.kind == "ping" {
		next(v)
		return
	}
	to := v.server.cdn.URL + strings.Replace(v.r.URL.Path, "/v2/", v.profile.Inner, 1)
	v.w.Header().Set("Location", to)
	v.reply(Reply{Status: http.StatusTemporaryRedirect, Type: html, Body: `<a href="` + to + `">Temporary Redirect</a>.` + "\n"})
}
