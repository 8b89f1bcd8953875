package registrytest

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
)

// Profile is the ways of one real registry, as far as they are established: mostly
// data, and a few steps where data does not do. What is left zero is as the
// distribution specification says. Texts may hold places such as {name}; see
// Visit.expand.
type Profile struct {
	// Name is that of the registry, and good for a host name.
	Name string
	// Naming makes the name of a repository from a group (a user, a project, a
	// repository key) and a name in it; default "%s/%s".
	Naming string
	// AllPublic says that no account there has repositories of its own, so that
	// what is private or refused does not exist.
	AllPublic bool
	// Auth is whom it answers. The zero value is everybody.
	Auth Authority
	// First are the steps before Auth has its say, Then those after it.
	First, Then []Step
	// Welcome answers a ping that may pass.
	Welcome Reply
	// Missing answers, by kind, for what is not there; "" is for a repository
	// that is not there, whatever the kind, where that makes a difference.
	Missing map[string]Reply
	// Tags is how it lists them.
	Tags TagList
	// Abroad is another registry, at the CDN host, that redirects lead to. Its
	// repositories are the same ones, behind the path Inner.
	Abroad *Profile
	Inner  string
	// Referrers is whether those are found: by the API, by the tag that stands
	// in for it, or not at all.
	Referrers Referrers
}

// Referrers is how a registry can be asked for them.
type Referrers int

// The ways of asking for referrers.
const (
	ReferrersAPI Referrers = iota
	ReferrersTag
	ReferrersNone
)

// Visibility is who may see a repository.
type Visibility int

// The visibilities. A repository that was never put is missing.
const (
	Public  Visibility = iota // everybody
	Private                   // who has Username and Password
	Refused                   // it exists, and is shown to nobody that a test can be
)

// Username and Password are those of the only account of every Profile.
const (
	Username = "user"
	Password = "password"
)

// HasAccounts reports whether there are repositories that only an account may see.
func (p *Profile) HasAccounts() bool { return p.Auth.used() && !p.AllPublic }

// Repository returns the full name of a repository.
func (p *Profile) Repository(group, name string) string {
	return fmt.Sprintf(cmp.Or(p.Naming, "%s/%s"), group, name)
}

// SetVisibility says who may see a repository; Public is the default.
func (s *Server) SetVisibility(repository string, v Visibility) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repository(repository).visibility = v
}

// Forget forgets what was given out, so that a profile is as it was before anybody
// asked.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		clear(r.given)
		clear(r.named)
	}
}

// Profiles returns those of all registries that are known here.
func Profiles() []Profile {
	return slices.Concat(
		[]Profile{dockerHub(), ghcr()}, quay(), []Profile{kubernetes()}, ecr(), google(), []Profile{azure(), gitLab(), harborProxy()},
		nexus(), []Profile{artifactory(), pulp(), gitea(), nvidia(), ollama(), distribution()}, zot(),
	)
}

// Step answers a request, or gives it to the next one, changed if need be.
type Step func(v *Visit, next func(*Visit))

// run is the whole way of a request.
func (p *Profile) run(v *Visit) {
	chain(p.First, func(v *Visit) {
		p.Auth.admit(v, func(v *Visit) { chain(p.Then, (*Visit).content)(v) })
	})(v)
}

func chain(steps []Step, last func(*Visit)) func(*Visit) {
	for _, step := range slices.Backward(steps) {
		next := last
		last = func(v *Visit) { step(v, next) }
	}
	return last
}

// content answers a request that nothing is special about.
func (v *Visit) content() {
	switch {
	case v.kind == "ping":
		v.reply(v.profile.Welcome.or(Reply{Status: http.StatusOK, Body: "{}"}))
	case v.repo == nil:
		v.missing(true)
	case v.kind == "manifests":
		d, ok := v.resolve()
		if !ok {
			v.missing(false)
			return
		}
		if v.r.Method != http.MethodHead {
			v.sent(d)
		}
		v.serveManifest(v.w, v.r, v.repo, v.reference)
	case v.kind == "blobs":
		if !v.hasBlob() {
			v.missing(false)
			return
		}
		if v.r.Method != http.MethodHead {
			v.sent(v.digest())
		}
		v.serveBlob(v.w, v.r, v.repo, v.reference)
	case v.kind == "tags":
		v.profile.Tags.serve(v)
	case v.kind == "referrers":
		v.serveReferrers(v.w, v.repo, v.digest())
	default:
		v.missing(false)
	}
}

// missing answers for what is not there.
func (v *Visit) missing(repository bool) {
	codes := map[string]string{
		"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN", "tags": "NAME_UNKNOWN", "referrers": "NAME_UNKNOWN",
	}
	reply := v.profile.Missing[v.kind].or(problem(http.StatusNotFound, cmp.Or(codes[v.kind], "NOT_FOUND"), "not known here"))
	if repository {
		reply = v.profile.Missing[""].or(reply)
	}
	v.reply(reply)
}
