package wire

import (
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
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
