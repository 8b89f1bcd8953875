package bucket

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
)

// StatusError is that a server has answered with a status that is no success.
type StatusError struct {
	Status int
	Code   string // that of S3
	// Message is the server's, or what the code means.
	Message string
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the server answers %d %s: %.200s", e.Status, e.Code, e.Message)
}

// ErrNoBucket is for a bucket that is absent itself, which is none of its objects.
var ErrNoBucket = errors.New("there is no such bucket")

// fullCodes are the error codes of servers without room: those of Ceph and MinIO, too.
var fullCodes = map[string]bool{"QuotaExceeded": true, "XMinioStorageFull": true, "XMinioAdminBucketQuotaExceeded": true, "InsufficientStorage": true, "StorageFull": true}

// Help returns what helps when a request to a bucket has failed.
func Help(err error) string {
	told, answered := errors.AsType[*StatusError](err)
	_, unfound := errors.AsType[*net.DNSError](err)
	_, untrusted := errors.AsType[*tls.CertificateVerificationError](err)
	var late interface{ Timeout() bool }
	switch {
	case errors.Is(err, ErrNoBucket):
		return "make the bucket, or correct the URL in the option fleet"
	case answered && (fullCodes[told.Code] || told.Status == http.StatusInsufficientStorage):
		return "make room there, or set max_size in the option fleet below what the server has"
	case answered && told.Code == "RequestTimeTooSkewed":
		return "set the clock of this machine by NTP"
	case answered && (told.Status == http.StatusUnauthorized || told.Status == http.StatusForbidden):
		return "correct the keys in the option fleet, or give them the rights to get, put, delete and list objects"
	case answered && (told.Status == http.StatusTooManyRequests || told.Status == http.StatusServiceUnavailable):
		return "the server is asked too much, or is being maintained: wait, or give it more"
	case answered && told.Status < http.StatusInternalServerError:
		return "correct the URL and the region in the option fleet"
	case answered:
		return "look into the log of the S3 server"
	case unfound:
		return "correct the host in the URL of the option fleet, or its DNS"
	case untrusted:
		return "give the S3 server a certificate for its name that this machine trusts"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start the S3 server, or correct the URL in the option fleet"
	case errors.As(err, &late) && late.Timeout():
		return "see whether the S3 server is overloaded, and the network to it: it belongs near the gateways"
	}
	return "look into the log of the S3 server, and at the network to it"
}
