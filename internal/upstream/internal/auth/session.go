package auth

import (
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// Session is the authentication of one operation at one registry, with all its tries.
// It is for one goroutine.
type Session struct {
	r          *Registry
	repository string

	// unfit are the challenges for which there was no token.
	unfit map[challenge]*wire.Failure
	// offered are what the registry has asked this repository for, and pinged what
	// it asks of a ping, once that was sent.
	offered, pinged []challenge
	hasPinged       bool
	// obtained are the headers with tokens that are no older than the session.
	obtained map[string]bool
	// identified says that the upstream's credentials were sent, loggedIn that the registry
	// itself got them; withheld names the token server that did not get them.
	identified, loggedIn bool
	withheld             string
}

// Session returns one for a repository.
func (r *Registry) Session(repository string) *Session {
	return &Session{r: r, repository: repository, unfit: map[challenge]*wire.Failure{}, obtained: map[string]bool{}}
}

// Again prepares for another try.
func (s *Session) Again() { clear(s.unfit) }

// StatusFailure is what an unexpected status means. It closes the answer.
func (s *Session) StatusFailure(a *wire.Answer) *wire.Failure {
	f := wire.StatusFailure(a, s.r.now())
	if a.Abroad {
		f.Text = a.URL.Host + ", where " + s.r.base.Host + " leads to," + strings.TrimPrefix(f.Text, a.URL.Host)
	}
	switch f.Class {
	case oci.ClassRateLimited:
		f.Text = wire.Limits(a.URL.Host, s.r.now().Add(f.RetryAfter))
	case oci.ClassDenied:
		f.Login = s.loggedIn && a.StatusCode == http.StatusUnauthorized && !a.Abroad
		f.Text += s.refusal()
	}
	return f
}

// refusal tells what a person can do about access that is denied, if that is known.
func (s *Session) refusal() string {
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
