package oci

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Code is an error code of the distribution spec ("Error Codes"), or
// UNAVAILABLE for 5xx answers, which the spec leaves open.
type Code string

// The codes that a read-only gateway answers with.
const (
	CodeBlobUnknown     Code = "BLOB_UNKNOWN"
	CodeDenied          Code = "DENIED"
	CodeDigestInvalid   Code = "DIGEST_INVALID"
	CodeManifestInvalid Code = "MANIFEST_INVALID"
	CodeManifestUnknown Code = "MANIFEST_UNKNOWN"
	CodeNameInvalid     Code = "NAME_INVALID"
	CodeNameUnknown     Code = "NAME_UNKNOWN"
	CodeTooManyRequests Code = "TOOMANYREQUESTS"
	CodeUnauthorized    Code = "UNAUTHORIZED"
	CodeUnsupported     Code = "UNSUPPORTED"
	CodeUnavailable     Code = "UNAVAILABLE"
)

// Class says why an upstream operation failed. It is a metric label and stands
// in logs and Cache-Status details, so the set is closed.
type Class string

// The classes. ClassNone is a success, or an error that no upstream caused.
const (
	ClassNone        Class = ""
	ClassConnect     Class = "connect"      // refused, unreachable, reset before an answer
	ClassDNS         Class = "dns"          // the name does not resolve
	ClassTLS         Class = "tls"          // handshake or certificate
	ClassTimeout     Class = "timeout"      // no answer, or no bytes, in time
	ClassToken       Class = "token"        // the token server did not give a token
	ClassDenied      Class = "denied"       // 401 or 403 after the token exchange
	ClassNotFound    Class = "notfound"     // 404
	ClassRateLimited Class = "ratelimited"  // 429
	ClassStatus      Class = "status"       // any other unexpected status
	ClassRedirect    Class = "redirect"     // a redirect that is not followed
	ClassForbidden   Class = "forbidden"    // an address that this upstream may not lead to
	ClassNotRegistry Class = "not_registry" // an answer that no registry gives, such as HTML
	ClassLength      Class = "length"       // more or fewer bytes than announced
	ClassDigest      Class = "digest"       // bytes that do not match the digest
	ClassBreaker     Class = "breaker"      // not asked: it has failed too often in a row
	ClassExhausted   Class = "exhausted"    // not asked: this machine has no descriptor or port left
	ClassCanceled    Class = "canceled"     // we gave up ourselves
)

// Error is a failure as an OCI client gets to see it. Packages below the wire
// return it, wrapped or not, where they know the answer; any other error is a
// 502 for the client.
type Error struct {
	// Code and Status are the OCI code and the HTTP status for the client.
	Code   Code
	Status int
	// Message is one sentence for the person at the other end. It holds no
	// secret, no signed URL and no text of an upstream's body.
	Message string
	// Class and UpstreamStatus tell what the upstream did; zero where none was
	// asked or none answered.
	Class          Class
	UpstreamStatus int
	// RetryAfter is sent with 429 and 503; 0 = not known.
	RetryAfter time.Duration
	// Err is the cause, for logs only.
	Err error
}

// NewError returns an Error with the status that belongs to the code.
func NewError(code Code, message string) *Error {
	return &Error{Code: code, Status: statusOf(code), Message: message}
}

func statusOf(code Code) int {
	switch code {
	case CodeBlobUnknown, CodeManifestUnknown, CodeNameUnknown:
		return http.StatusNotFound
	case CodeDenied:
		return http.StatusForbidden
	case CodeUnauthorized:
		return http.StatusUnauthorized
	case CodeTooManyRequests:
		return http.StatusTooManyRequests
	case CodeUnsupported:
		return http.StatusMethodNotAllowed
	case CodeUnavailable:
		return http.StatusBadGateway
	default:
		return http.StatusBadRequest
	}
}

// UpstreamError returns what a client sees of an upstream failure: 404 for
// ClassNotFound (with the code unknown), 403 for ClassDenied, 429 for
// ClassRateLimited, 503 for ClassBreaker and ClassExhausted, 504 for ClassTimeout
// and 502 for the rest.
func UpstreamError(class Class, unknown Code, message string, cause error) *Error {
	e := &Error{Code: CodeUnavailable, Status: http.StatusBadGateway, Message: message, Class: class, Err: cause}
	switch class {
	case ClassNotFound:
		e.Code, e.Status = unknown, http.StatusNotFound
	case ClassDenied:
		e.Code, e.Status = CodeDenied, http.StatusForbidden
	case ClassRateLimited:
		e.Code, e.Status = CodeTooManyRequests, http.StatusTooManyRequests
	case ClassBreaker, ClassExhausted:
		e.Status = http.StatusServiceUnavailable
	case ClassTimeout:
		e.Status = http.StatusGatewayTimeout
	}
	return e
}

// Error returns the message and the cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %v", e.Message, e.Err)
	}
	return e.Message
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an *Error: the first one in its chain, or a 502 around
// it. It returns nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Code: CodeUnavailable, Status: http.StatusBadGateway, Message: "the gateway could not answer", Err: err}
}

// ClassOf returns the class of the first *Error in err's chain, ClassNone if
// there is none.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ClassNone
}

// IsNotFound reports whether the upstream itself said that the thing does not
// exist. A failure to ask is never that.
func IsNotFound(err error) bool { return ClassOf(err) == ClassNotFound }
