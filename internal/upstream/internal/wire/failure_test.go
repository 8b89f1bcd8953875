package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/egress"
)

func TestClassOfStatus(t *testing.T) {
	want := map[int]oci.Class{
		200: oci.ClassNone, 401: oci.ClassDenied, 403: oci.ClassDenied, 404: oci.ClassNotFound, 410: oci.ClassNotFound,
		429: oci.ClassRateLimited, 451: oci.ClassDenied,
	}
	for status := range 1000 {
		class, ok := want[status]
		if !ok {
			class = oci.ClassStatus
			if status/100 == 3 {
				class = oci.ClassRedirect
			}
		}
		if got := classOfStatus(status); got != class {
			t.Errorf("%d: %q, want %q", status, got, class)
		}
	}
}

// What a person can do about a failure stands in its message.
func TestFailuresNameTheirCure(t *testing.T) {
	for class, test := range map[oci.Class]struct {
		err  error
		want string
	}{
		oci.ClassDNS:         {&net.DNSError{Err: "no such host"}, "check `url` and the DNS of this machine"},
		oci.ClassTLS:         {tls.AlertError(42), "check `url`, or trust its authority with `tls_ca`"},
		oci.ClassForbidden:   {&egress.AddressError{}, "`allow_address` allows private ones"},
		oci.ClassNotRegistry: {errors.New("malformed HTTP response"), "check scheme and port of `url`"},
		oci.ClassConnect:     {syscall.ECONNREFUSED, "check `url`, `proxy` and the firewall"},
	} {
		f := AsFailure(t.Context(), "registry.example", test.err)
		if f.Class != class || !strings.Contains(f.Text, "registry.example") || !strings.HasSuffix(f.Text, ": "+test.want) {
			t.Errorf("%s: %q, want %q", f.Class, f.Text, test.want)
		}
	}
	// One that comes back by itself needs none.
	if f := AsFailure(t.Context(), "registry.example", syscall.ECONNRESET); strings.Contains(f.Text, "check") {
		t.Errorf("reset: %q", f.Text)
	}
}

// The log tells why there was no answer in time, and nothing that a peer sent.
func TestSafeCause(t *testing.T) {
	for _, err := range []error{ErrBudget, ErrIdle, errSilent, noHeaderError{}, context.DeadlineExceeded, syscall.ECONNRESET} {
		if got := SafeCause(fmt.Errorf("get: %w", err)); !errors.Is(got, err) {
			t.Errorf("%v is told as %v", err, got)
		}
	}
	if got := SafeCause(errors.New("malformed HTTP status line: canary")); strings.Contains(got.Error(), "canary") {
		t.Error(got)
	}
}
