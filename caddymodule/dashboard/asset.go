package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"mime"
	"net/http"
	"path"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

//go:embed assets
var files embed.FS

// assets are the files of the page by the last part of their URL; that of the page
// itself is empty.
var assets = loadAssets()

// asset is one file of the page.
type asset struct {
	content   []byte
	mediaType string
	tag       string // its ETag
}

func loadAssets() map[string]asset {
	entries, err := files.ReadDir("assets")
	if err != nil {
		panic(err) // they are in the binary
	}
	loaded := make(map[string]asset, len(entries))
	for _, entry := range entries {
		content, err := files.ReadFile("assets/" + entry.Name())
		if err != nil {
			panic(err)
		}
		a := asset{content: content}
		switch path.Ext(entry.Name()) {
		case ".js": // which systems have their own ideas of
			a.mediaType = "text/javascript; charset=utf-8"
		default:
			a.mediaType = mime.TypeByExtension(path.Ext(entry.Name()))
		}
		sum := sha256.Sum256(content)
		a.tag = `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
		name := entry.Name()
		if name == "index.html" {
			name = ""
		}
		loaded[name] = a
	}
	return loaded
}

// secure says that the page needs nothing but what lies beside it, and that nobody may
// put it into a page of his own.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; worker-src 'self'; "+
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// serve answers with the file. It is asked for again at each load, and sent only if it
// has changed: a page of one version never runs with the scripts of another.
func (a asset) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return caddyhttp.Error(http.StatusMethodNotAllowed, nil)
	}
	h := w.Header()
	h.Set("Content-Type", a.mediaType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", a.tag)
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(a.content)
	}
	return nil
}
