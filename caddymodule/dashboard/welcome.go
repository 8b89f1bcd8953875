package dashboard

import (
	_ "embed"
	"html/template"
	"net/http"
	"strings"
)

//go:embed welcome.html
var welcomeText string

var welcomeTemplate = template.Must(template.New("welcome").Parse(welcomeText))

// Welcome is what a browser gets at the root of a gateway.
type Welcome struct {
	Version string
	// Upstreams are those that who asks may pull from.
	Upstreams []string
	// Endpoint is where he has reached the gateway.
	Endpoint string
}

// IsBrowser reports whether a request is that of somebody who looks: registry clients
// ask for no pages.
func IsBrowser(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/" && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// ServeHTTP answers with a small page.
func (p Welcome) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	secure(h)
	// The style stands in the page: it needs nothing else.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	_ = welcomeTemplate.Execute(w, p)
}
