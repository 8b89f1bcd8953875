package upstream

import (
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// That this machine has no descriptor left is not held against the upstream.
func TestExhausted(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EMFILE)},
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.EADDRNOTAVAIL)},
		&net.DNSError{Err: "dial udp 192.0.2.1:53: socket: too many open files", Name: "registry.example"},
	} {
		f := wire.AsFailure(t.Context(), "registry.example", cause)
		if f.Class != oci.ClassExhausted || !f.IsNeutral() || f.IsTrouble() {
			t.Errorf("%v: %+v", cause, f)
		}
		e := (operation{}).errorOf(f)
		if e.Status != http.StatusServiceUnavailable || e.RetryAfter <= 0 {
			t.Errorf("%v: status %d, retry after %v", cause, e.Status, e.RetryAfter)
		}
	}
	if f := wire.AsFailure(t.Context(), "registry.example", errors.New("connection refused")); f.Class != oci.ClassConnect {
		t.Errorf("class %s", f.Class)
	}
}
