package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

// Failure is why one try did not give an answer. Its text is for people and
// holds nothing that an upstream wrote but host names and status codes.
type Failure struct { //nolint:errname // wire.FailureError would say it twice
	Class      oci.Class
	Status     int
	Text       string
	RetryAfter time.Duration
	// Again says that the same URL may well answer in a moment.
	Again bool
	// RepositoryUnknown is a 404 that names the repository as what is missing.
	RepositoryUnknown bool
	// Attempts is how many tries there were, for the log.
	Attempts int
	// Unasked says that no request was sent; abroad, that it is of a host that the
	// registry redirects to; unreached, that there was no connection to the host.
	Unasked, Abroad, Unreached bool
	// Identity says that a token server did not accept who we are, Login that the registry
	// itself did not, which may be this repository's own trouble.
	Identity, Login bool
	// Crowded says that others were in flight, so that it may be due to them.
	Crowded bool
	Err     error
}

// Error implements error.
func (f *Failure) Error() string { return f.Text }

// IsRefusal reports whether a failure to get a token leaves it to the registry to
// say what else would do.
func (f *Failure) IsRefusal() bool {
	switch f.Class {
	case oci.ClassDenied, oci.ClassForbidden, oci.ClassToken, oci.ClassTimeout:
		return true
	}
	return false
}

// Unwrap returns what the network said, if it was that.
func (f *Failure) Unwrap() error { return f.Err }

// IsTrouble reports whether a failure speaks against the registry as a whole: no
// answer, or a 5xx.
func (f *Failure) IsTrouble() bool {
	switch f.Class {
	case oci.ClassConnect, oci.ClassDNS, oci.ClassTLS, oci.ClassTimeout, oci.ClassToken:
		return f.Status == 0 || IsServerError(f.Status)
	case oci.ClassStatus:
		return IsServerError(f.Status)
	}
	return false
}

// IsServerError reports whether a status is one of a server in trouble. 501 is
// that of one in good health which does not know what it is asked for.
func IsServerError(status int) bool {
	return status >= 500 && status < 600 && status != http.StatusNotImplemented
}

// IsNeutral reports whether a failure says nothing of the registry: we gave up
// ourselves, did not even ask, or it is the trouble of a host that it redirects to.
func (f *Failure) IsNeutral() bool {
	switch f.Class {
	case oci.ClassCanceled, oci.ClassForbidden, oci.ClassBreaker, oci.ClassExhausted:
		return true
	}
	return f.Unasked || f.Crowded || f.Abroad && f.IsTrouble()
}

// The causes with which an operation's own clocks cancel its context.
var (
	ErrBudget = errors.New("the operation took too long")
	ErrIdle   = errors.New("no bytes came for too long")
	// errSilent ends one request, not the operation.
	errSilent = errors.New("no answer on a connection that was used before")
)

// AsFailure returns err as a failure; host is whom the failed request went to.
func AsFailure(ctx context.Context, host string, err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	f = &Failure{Class: classOf(ctx, err), Err: SafeCause(err), Unreached: isUnreached(err)}
	switch f.Class {
	case oci.ClassCanceled:
		f.Text = "canceled"
	case oci.ClassTimeout:
		f.Text = host + " did not answer in time"
	case oci.ClassExhausted:
		f.Text = "this machine has no descriptor or port left to connect to " + host
		f.RetryAfter = time.Second
	case oci.ClassDNS:
		f.Text = "the name " + host + " does not resolve: check `url` and the DNS of this machine"
	case oci.ClassTLS:
		f.Text = "no trusted TLS connection to " + host + ": check `url`, or trust its authority with `tls_ca`"
	case oci.ClassForbidden:
		f.Text = host + " is at an address that is not allowed: `allow_address` allows private ones"
	case oci.ClassNotRegistry:
		f.Text = host + " does not speak HTTP: check scheme and port of `url`"
	default:
		f.Text = "no connection to " + host
		if f.Again = isReset(err); !f.Again {
			f.Text += ": check `url`, `proxy` and the firewall"
		}
	}
	return f
}

func classOf(ctx context.Context, err error) oci.Class {
	var (
		refused *egress.AddressError
		dns     *net.DNSError
		network net.Error
	)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, ErrBudget), errors.Is(cause, ErrIdle), errors.Is(cause, context.DeadlineExceeded):
		return oci.ClassTimeout
	case cause != nil:
		return oci.ClassCanceled
	case isExhausted(err):
		return oci.ClassExhausted
	case errors.As(err, &refused):
		return oci.ClassForbidden
	case errors.As(err, &dns):
		return oci.ClassDNS
	case isTLS(err):
		return oci.ClassTLS
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errSilent):
		return oci.ClassTimeout
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "malformed MIME"):
		return oci.ClassNotRegistry
	}
	return oci.ClassConnect
}

// isExhausted reports whether the failure is this machine's own. A resolver tells
// the cause as a text only.
func isExhausted(err error) bool {
	for _, cause := range []error{syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, cause) || strings.Contains(err.Error(), cause.Error()) {
			return true
		}
	}
	return false
}

// isUnreached reports whether a request failed before there was a connection to
// send it over.
func isUnreached(err error) bool {
	var network *net.OpError
	return errors.As(err, &network) && network.Op == "dial" || isTLS(err) ||
		strings.Contains(err.Error(), "TLS handshake timeout")
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		header       tls.RecordHeaderError
		alert        tls.AlertError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
	)
	return errors.As(err, &verification) || errors.As(err, &header) || errors.As(err, &alert) ||
		errors.As(err, &authority) || errors.As(err, &hostname) || errors.As(err, &invalid) ||
		errors.Is(err, http.ErrSchemeMismatch) || strings.Contains(err.Error(), "tls: ")
}

func isReset(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNABORTED) ||
		strings.Contains(err.Error(), "server closed idle connection")
}

// SafeCause returns err for logs if it comes from the network or from TLS. Other
// errors of net/http may quote what the peer sent.
func SafeCause(err error) error {
	var (
		network net.Error
		refused *egress.AddressError
	)
	if errors.As(err, &network) || errors.As(err, &refused) || isTLS(err) || isReset(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, errSilent) || errors.Is(err, ErrBudget) || errors.Is(err, ErrIdle) {
		return err
	}
	return errors.New("malformed answer")
}

// StatusFailure is what an unexpected status means. It closes the answer.
func StatusFailure(a *Answer, now time.Time) *Failure {
	f := &Failure{
		Status: a.StatusCode, Class: classOfStatus(a.StatusCode), Abroad: a.Abroad,
		Text: fmt.Sprintf("%s answered %d", a.URL.Host, a.StatusCode),
	}
	switch {
	case f.Class == oci.ClassNone:
		f.Class = oci.ClassStatus // a success that was not asked for
	case f.Class == oci.ClassDenied && a.Abroad, f.Class == oci.ClassNotFound && !a.Settles():
		// It is the registry that decides on access and on what there is, not a
		// host that it leads to.
		f.Class = oci.ClassStatus
	case f.Class == oci.ClassRateLimited:
		f.RetryAfter = parseRetryAfter(a.Header.Get("Retry-After"), now)
	case f.Class == oci.ClassNotFound:
		f.RepositoryUnknown = a.HasCode("NAME_UNKNOWN")
	case f.Class == oci.ClassRedirect:
		f.Text = a.URL.Host + " redirects to nowhere"
	case a.StatusCode >= 500:
		f.Again = a.StatusCode <= http.StatusGatewayTimeout && a.StatusCode != http.StatusNotImplemented
	}
	a.Drain()
	return f
}

// classOfStatus returns the class of an answer to a request without a range:
// none for 200, some for everything else.
func classOfStatus(status int) oci.Class {
	switch {
	case status == http.StatusOK:
		return oci.ClassNone
	case status == http.StatusNotFound, status == http.StatusGone:
		return oci.ClassNotFound
	case status == http.StatusUnauthorized, status == http.StatusForbidden,
		status == http.StatusUnavailableForLegalReasons:
		return oci.ClassDenied
	case status == http.StatusTooManyRequests:
		return oci.ClassRateLimited
	case status >= 300 && status < 400:
		return oci.ClassRedirect
	}
	return oci.ClassStatus
}

// Limits tells until when a host asks for a pause.
func Limits(host string, until time.Time) string {
	return host + " limits pulls until " + until.Format(time.TimeOnly)
}
