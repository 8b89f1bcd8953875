package upstream

import (
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
)

// session is the authentication of one operation at one registry, with all its tries.
// It is for one goroutine.
type session struct {
	r          *Registry
	repository string

	// unfit are the challenges for which there was no token.
	unfit map[challenge]*failure
	// offered are what the registry has asked this repository for, and pinged what
	// it asks of a ping, once that was sent.
	offered, pinged []challenge
	hasPinged       bool
	// fresh are the headers with tokens that are no older than the session.
	fresh map[string]bool
	// identified says that the upstream's credentials were sent; withheld names the
	// token server that did not get them.
	identified bool
	withheld   string
}

// session returns one for a repository.
func (r *Registry) session(repository string) *session {
	return &session{r: r, repository: repository, unfit: map[challenge]*failure{}, fresh: map[string]bool{}}
}

// again prepares for another try.
func (s *session) again() { clear(s.unfit) }

// statusFailure is what an unexpected status means. It closes the answer.
func (s *session) statusFailure(a *answer) *failure {
	f := statusFailure(a, s.r.now())
	if a.abroad {
		f.text = a.url.Host + ", where " + s.r.base.Host + " leads to," + strings.TrimPrefix(f.text, a.url.Host)
	}
	switch f.class {
	case oci.ClassRateLimited:
		f.text = limits(a.url.Host, s.r.now().Add(f.retryAfter))
	case oci.ClassDenied:
		f.text += s.refusal()
	}
	return f
}

// refusal tells what a person can do about access that is denied, if that is known.
func (s *session) refusal() string {
	switch {
	case s.identified:
		return ": it refused the user and password of `credentials`"
	case s.withheld != "":
		return ": its `credentials` were not sent to the token server " + s.withheld +
			", which is another origin; `auth_origin " + s.withheld + "` allows that"
	case s.r.elsewhere != "":
		return ": the `credentials` of the upstream are for " + s.r.elsewhere + "; those in a block of `url` are for that URL"
	}
	return ""
}
