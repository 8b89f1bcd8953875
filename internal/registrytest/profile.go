package registrytest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Profile is the ways of one real registry, as far as they are established: mostly
// data, and a few steps where data does not do. What is left zero is as the
// distribution specification says. Texts may hold places such as {name}; see
// visit.expand.
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
	First, Then []step
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

// Profiles returns those of all registries that are known here.
func Profiles() []Profile {
	return slices.Concat(
		[]Profile{dockerHub(), ghcr()}, quay(), []Profile{kubernetes()}, ecr(), google(), []Profile{azure(), gitLab(), harborProxy()},
		nexus(), []Profile{artifactory(), pulp(), gitea(), nvidia(), ollama(), distribution()}, zot(),
	)
}

// step answers a request, or gives it to the next one, changed if need be.
type step func(v *visit, next func(*visit))

// run is the whole way of a request.
func (p *Profile) run(v *visit) {
	chain(p.First, func(v *visit) {
		p.Auth.admit(v, func(v *visit) { chain(p.Then, (*visit).content)(v) })
	})(v)
}

func chain(steps []step, last func(*visit)) func(*visit) {
	for _, step := range slices.Backward(steps) {
		next := last
		last = func(v *visit) { step(v, next) }
	}
	return last
}

// content answers a request that nothing is special about.
func (v *visit) content() {
	h := v.w.Header()
	switch {
	case v.kind == "ping":
		v.reply(v.profile.Welcome.or(Reply{Status: http.StatusOK, Body: "{}"}))
	case v.repo == nil:
		v.missing(true)
	case v.kind == "manifests":
		d, m, ok := v.repo.resolve(v.reference)
		if !ok {
			v.missing(false)
			return
		}
		v.given(d)
		h.Set("Content-Type", m.mediaType)
		h.Set("Docker-Content-Digest", d.String())
		h.Set("Content-Length", strconv.Itoa(len(m.raw)))
		v.w.WriteHeader(http.StatusOK)
		if v.r.Method != http.MethodHead {
			_, _ = v.w.Write(m.raw)
		}
	case v.kind == "blobs":
		content := v.repo.blob(v.digest())
		if content == nil {
			v.missing(false)
			return
		}
		v.given(v.digest())
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Docker-Content-Digest", v.reference)
		v.send(content())
	case v.kind == "tags":
		v.profile.Tags.serve(v)
	case v.kind == "referrers":
		h.Set("Content-Type", ocispec.MediaTypeImageIndex)
		_ = json.NewEncoder(v.w).Encode(v.repo.referrers(v.digest()))
	default:
		v.missing(false)
	}
}

// given notes that a client gets something.
func (v *visit) given(d digest.Digest) {
	if v.r.Method != http.MethodHead {
		v.repo.give(d)
	}
}

// missing answers for what is not there.
func (v *visit) missing(repository bool) {
	codes := map[string]string{
		"manifests": "MANIFEST_UNKNOWN", "blobs": "BLOB_UNKNOWN", "tags": "NAME_UNKNOWN", "referrers": "NAME_UNKNOWN",
	}
	reply := v.profile.Missing[v.kind].or(problem(http.StatusNotFound, cmp.Or(codes[v.kind], "NOT_FOUND"), "not known here"))
	if repository {
		reply = v.profile.Missing[""].or(reply)
	}
	v.reply(reply)
}
