package upstream

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
)

// What a person can do about a failure stands in its message.
func TestFailuresNameTheirCure(t *testing.T) {
	for class, test := range map[oci.Class]struct {
		err  error
		want string
	}{
		oci.ClassDNS:         {&net.DNSError{Err: "no such host"}, "check `url` and the DNS of this machine"},
		oci.ClassTLS:         {tls.AlertError(42), "check `url`, or trust its authority with `tls_ca`"},
		oci.ClassForbidden:   {&addressError{}, "`allow_address` allows private ones"},
		oci.ClassNotRegistry: {errors.New("malformed HTTP response"), "check scheme and port of `url`"},
		oci.ClassConnect:     {syscall.ECONNREFUSED, "check `url`, `proxy` and the firewall"},
	} {
		f := asFailure(t.Context(), "registry.example", test.err)
		if f.class != class || !strings.Contains(f.text, "registry.example") || !strings.HasSuffix(f.text, ": "+test.want) {
			t.Errorf("%s: %q, want %q", f.class, f.text, test.want)
		}
	}
	// One that comes back by itself needs none.
	if f := asFailure(t.Context(), "registry.example", syscall.ECONNRESET); strings.Contains(f.text, "check") {
		t.Errorf("reset: %q", f.text)
	}
}
