package oci

import (
	"testing"
	"time"
)

func TestAgeOf(t *testing.T) {
	t.Parallel()
	if age := AgeOf(Descriptor{}); age != 0 {
		t.Errorf("%v of what tells none", age)
	}
	if age := AgeOf(Aged(Descriptor{}, 90*time.Minute+time.Nanosecond)); age != 90*time.Minute+1 {
		t.Errorf("%v", age)
	}
	for _, wrong := range []string{"", "old", "-1s"} {
		if age := AgeOf(Descriptor{Annotations: map[string]string{annotationAge: wrong}}); age != 0 {
			t.Errorf("%v of %q", age, wrong)
		}
	}
}
