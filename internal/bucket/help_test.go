package bucket

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestHelp(t *testing.T) {
	for want, all := range map[string][]error{
		"make the bucket": {ErrNoBucket},
		"make room":       {&StatusError{Status: 507}, &StatusError{Status: 403, Code: "QuotaExceeded"}, &StatusError{Status: 507, Code: "XMinioStorageFull"}},
		"correct the keys": {
			&StatusError{Status: 403, Code: "SignatureDoesNotMatch"}, &StatusError{Status: 403, Code: "InvalidAccessKeyId"}, &StatusError{Status: 403, Code: "AccessDenied"},
		},
		"clock":                {&StatusError{Status: 403, Code: "RequestTimeTooSkewed"}},
		"asked too much":       {&StatusError{Status: 503, Code: "SlowDown"}, &StatusError{Status: 429}},
		"region":               {&StatusError{Status: 301, Code: "PermanentRedirect"}, &StatusError{Status: 400, Code: "AuthorizationHeaderMalformed"}},
		"DNS":                  {&net.DNSError{Err: "no such host"}},
		"certificate":          {&tls.CertificateVerificationError{Err: errors.New("unknown authority")}},
		"start the S3 server":  {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}},
		"overloaded":           {context.DeadlineExceeded, os.ErrDeadlineExceeded},
		"log of the S3 server": {&StatusError{Status: 500}, errors.New("unexpected EOF")},
	} {
		for _, err := range all {
			if got := Help(fmt.Errorf("get object a: %w", err)); !strings.Contains(got, want) {
				t.Errorf("%v: %q, want %q", err, got, want)
			}
		}
	}
}
