package registrytest

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Visit is one request at a host of a profile.
type Visit struct {
	*Server

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

// serveProfile answers a request at any host: that of tokens has nothing else.
func (s *Server) serveProfile(host Host, w http.ResponseWriter, r *http.Request) {
	v := s.visit(host, w, r)
	switch {
	case s.follow(v):
	case v.profile == nil:
		http.Error(w, "AccessDenied", http.StatusForbidden)
	case host == HostToken && !v.profile.Auth.Tokens.at(host, r.URL.Path):
		v.reply(unauthorized())
	case v.kind == "token":
		v.profile.Auth.Tokens.serve(v)
	default:
		v.profile.run(v)
	}
}

func (s *Server) visit(host Host, w http.ResponseWriter, r *http.Request) *Visit {
	v := &Visit{Server: s, profile: s.o.Profile, w: w, r: r, kind: s.kindOf(host, r)}
	path := r.URL.Path
	if host == HostCDN {
		v.profile = s.o.Profile.Abroad
		path = strings.Replace(path, s.o.Profile.Inner, "/v2/", 1)
	}
	v.name, v.reference = split(path)
	if v.profile != nil {
		v.repo = v.find(v.name)
		v.identify()
	}
	return v
}

// find returns a repository, unless nobody at all could see it.
func (v *Visit) find(name string) *repository {
	v.mu.Lock()
	defer v.mu.Unlock()
	repo := v.repos[name]
	if repo != nil && repo.visibility != Public && !v.profile.HasAccounts() {
		return nil
	}
	return repo
}

// split takes a path below /v2/ apart: the last two components say what is asked
// for, whatever a repository is called.
func split(path string) (name, reference string) {
	parts := strings.Split(strings.TrimPrefix(path, "/v2/"), "/")
	if n := len(parts) - 2; n > 0 {
		return strings.Join(parts[:n], "/"), parts[n+1]
	}
	return "", ""
}

func (v *Visit) digest() digest.Digest { return digest.Digest(v.reference) }

// resolve returns the digest of the manifest that is asked for.
func (v *Visit) resolve() (digest.Digest, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.repo == nil {
		return "", false
	}
	d, ok := v.repo.tags[v.reference]
	if !ok {
		d = v.digest()
	}
	_, ok = v.repo.manifests[d]
	return d, ok
}

func (v *Visit) hasBlob() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.repo != nil && v.repo.blobs[v.digest()] != nil
}

var anyDigest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// sent notes that something was given out, and what it names if it is a manifest.
func (v *Visit) sent(d digest.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.repo.given[d] = true
	for _, named := range anyDigest.FindAll(v.repo.manifests[d].raw, -1) {
		v.repo.named[digest.Digest(named)] = true
	}
}

// expand fills the places of a text: {self}, {token} and {cdn} are the URLs of the
// host that was asked, of the token server and of the CDN; {host} is the name of
// the first; {name} is the repository, {key} and {rest} its first component and
// the others; {reference}, {digest} and {hex} are what was asked for.
func (v *Visit) expand(text string) string {
	key, rest, _ := strings.Cut(v.name, "/")
	d, ok := v.resolve()
	if !ok {
		d = v.digest()
	}
	_, hex, _ := strings.Cut(string(d), ":")
	return strings.NewReplacer(
		"{self}", "http://"+v.r.Host, "{host}", v.r.Host, "{token}", v.token.URL, "{cdn}", v.cdn.URL,
		"{name}", v.name, "{key}", key, "{rest}", rest, "{reference}", v.reference, "{digest}", string(d), "{hex}", hex,
	).Replace(text)
}

// Reply is an answer whose texts have places in them.
type Reply struct {
	Status int
	// Challenge has one WWW-Authenticate header each.
	Challenge []string
	// Type is the media type; default application/json.
	Type string
	Body string
	// Header are more headers.
	Header map[string]string
}

// problem is an error document of a registry.
func problem(status int, code, message string) Reply {
	return Reply{Status: status, Body: `{"errors":[{"code":"` + code + `","message":` + strconv.Quote(message) + `}]}` + "\n"}
}

// with returns a Reply with other challenges.
func (r Reply) with(challenges ...string) Reply {
	r.Challenge = challenges
	return r
}

// or returns the first of two that is one.
func (r Reply) or(other Reply) Reply {
	if r.Status == 0 {
		return other
	}
	return r
}

func (v *Visit) reply(r Reply) {
	h := v.w.Header()
	h.Set("Content-Type", "application/json")
	if r.Type != "" {
		h.Set("Content-Type", r.Type)
	}
	for _, c := range r.Challenge {
		h.Add("WWW-Authenticate", v.expand(c))
	}
	for name, value := range r.Header {
		h.Set(name, v.expand(value))
	}
	body := v.expand(r.Body)
	if v.r.Method == http.MethodHead {
		body = ""
	} else {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	v.w.WriteHeader(r.Status)
	_, _ = v.w.Write([]byte(body))
}

// accepts reports whether a media type is, literally, among those that are asked for.
func (v *Visit) accepts(mediaType string) bool {
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
