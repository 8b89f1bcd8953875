package upstream

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
)

// failure is why one try did not give an answer. Its text is for people and
// holds nothing that an upstream wrote but host names and status codes.
type failure struct {
	class      oci.Class
	status     int
	text       string
	retryAfter time.Duration
	// again says that the same URL may well answer in a moment.
	again bool
	// repositoryUnknown is a 404 that names the repository as what is missing.
	repositoryUnknown bool
	// attempts is how many tries there were, for the log.
	attempts int
	// unasked says that no request was sent; abroad, that it is of a host that the
	// registry redirects to; unreached, that there was no connection to the host.
	unasked, abroad, unreached bool
	// crowded says that others were in flight, so that it may be due to them.
	crowded bool
	err     error
}

func (f *failure) Error() string { return f.text }

// isRefusal reports whether a failure to get a token leaves it to the registry to
// say what else would do.
func (f *failure) isRefusal() bool {
	switch f.class {
	case oci.ClassDenied, oci.ClassForbidden, oci.ClassToken, oci.ClassTimeout:
		return true
	}
	return false
}

func (f *failure) Unwrap() error { return f.err }

// The causes with which an operation's own clocks cancel its context.
var (
	errBudget = errors.New("the operation took too long")
	errIdle   = errors.New("no bytes came for too long")
	// errDeaf ends one request, not the operation.
	errDeaf = errors.New("no answer on a connection that was used before")
)

// asFailure returns err as a failure; host is whom the failed request went to.
func asFailure(ctx context.Context, host string, err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	f = &failure{class: classOf(ctx, err), err: safeCause(err), unreached: isUnreached(err)}
	switch f.class {
	case oci.ClassCanceled:
		f.text = "canceled"
	case oci.ClassTimeout:
		f.text = host + " did not answer in time"
	case oci.ClassExhausted:
		f.text = "this machine has no descriptor or port left to connect to " + host
		f.retryAfter = time.Second
	case oci.ClassDNS:
		f.text = "the name " + host + " does not resolve: check `url` and the DNS of this machine"
	case oci.ClassTLS:
		f.text = "no trusted TLS connection to " + host + ": check `url`, or trust its authority with `tls_ca`"
	case oci.ClassForbidden:
		f.text = host + " is at an address that is not allowed: `allow_address` allows private ones"
	case oci.ClassNotRegistry:
		f.text = host + " does not speak HTTP: check scheme and port of `url`"
	default:
		f.text = "no connection to " + host
		if f.again = isReset(err); !f.again {
			f.text += ": check `url`, `proxy` and the firewall"
		}
	}
	return f
}

func classOf(ctx context.Context, err error) oci.Class {
	var (
		refused *addressError
		dns     *net.DNSError
		network net.Error
	)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errBudget), errors.Is(cause, errIdle), errors.Is(cause, context.DeadlineExceeded):
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
	case errors.As(err, &network) && network.Timeout(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errDeaf):
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

// safeCause returns err for logs if it comes from the network or from TLS. Other
// errors of net/http may quote what the peer sent.
func safeCause(err error) error {
	var (
		network net.Error
		refused *addressError
	)
	if errors.As(err, &network) || errors.As(err, &refused) || isTLS(err) || isReset(err) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errDeaf) {
		return err
	}
	return errors.New("malformed answer")
}

// statusFailure is what an unexpected status means. It closes the answer.
func statusFailure(a *answer, now time.Time) *failure {
	f := &failure{
		status: a.StatusCode, class: classOfStatus(a.StatusCode), abroad: a.abroad,
		text: fmt.Sprintf("%s answered %d", a.url.Host, a.StatusCode),
	}
	switch {
	case f.class == oci.ClassNone:
		f.class = oci.ClassStatus // a success that was not asked for
	case f.class == oci.ClassDenied && a.abroad, f.class == oci.ClassNotFound && !a.settles():
		// It is the registry that decides on access and on what there is, not a
		// host that it leads to.
		f.class = oci.ClassStatus
	case f.class == oci.ClassRateLimited:
		f.retryAfter = parseRetryAfter(a.Header.Get("Retry-After"), now)
	case f.class == oci.ClassNotFound:
		f.repositoryUnknown = a.hasCode("NAME_UNKNOWN")
	case f.class == oci.ClassRedirect:
		f.text = a.url.Host + " redirects to nowhere"
	case a.StatusCode >= 500:
		f.again = a.StatusCode <= http.StatusGatewayTimeout && a.StatusCode != http.StatusNotImplemented
	}
	a.drain()
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
