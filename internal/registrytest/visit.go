package registrytest

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
)

// visit is one request at a host of a profile.
type visit struct {
	server  *Server
	profile *Profile
	w       http.ResponseWriter
	r       *http.Request
	// kind is as in Request; name and reference are those of the path.
	kind, name, reference string
	repo                  *repository // nil = there is none of this name
	holder                holder
	grant                 grant
}

// holder is who a request says it is from.
type holder int

const (
	nobody   holder = iota // says nothing
	stranger               // says something that is not right
	guest                  // has a token that anybody can have
	user                   // is the account
)

// find returns a repository, unless nobody at all could see it.
func (v *visit) find(name string) *repository {
	r := v.server.find(name)
	if r != nil && r.seenBy() != Public && !v.profile.HasAccounts() {
		return nil
	}
	return r
}

func (v *visit) digest() digest.Digest { return digest.Digest(v.reference) }

// resolve returns the digest of the manifest that is asked for.
func (v *visit) resolve() (digest.Digest, bool) {
	d, _, ok := v.repo.resolve(v.reference)
	return d, ok
}

// expand fills the places of a text: {self}, {token} and {cdn} are the URLs of the
// host that was asked, of the token server and of the CDN; {host} is the name of
// the first; {name} is the repository, {key} and {rest} its first component and
// the others; {reference}, {digest} and {hex} are what was asked for.
func (v *visit) expand(text string) string {
	key, rest, _ := strings.Cut(v.name, "/")
	d, ok := v.resolve()
	if !ok {
		d = v.digest()
	}
	_, hex, _ := strings.Cut(string(d), ":")
	self := url.URL{Scheme: "http", Host: v.r.Host}
	if v.r.TLS != nil {
		self.Scheme = "https"
	}
	return strings.NewReplacer(
		"{self}", self.String(), "{host}", v.r.Host, "{token}", v.server.token.URL, "{cdn}", v.server.cdn.URL,
		"{name}", v.name, "{key}", key, "{rest}", rest, "{reference}", v.reference, "{digest}", string(d), "{hex}", hex,
	).Replace(text)
}

// accepts reports whether a media type is, literally, among those that are asked for.
func (v *visit) accepts(mediaType string) bool {
	for _, header := range v.r.Header.Values("Accept") {
		for entry := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(entry, ";")
			if strings.TrimSpace(name) == mediaType {
				return true
			}
		}
	}
	return false
}

// before returns the first component of a path.
func before(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}
