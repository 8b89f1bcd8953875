package volume

import (
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestID(t *testing.T) {
	for _, d := range []digest.Digest{digest.SHA256.FromString("x"), digest.SHA512.FromString("x")} {
		i, err := IDOf(d)
		if err != nil || !i.Valid() || i.Digest() != d {
			t.Errorf("%s became %s, %v", d, i.Digest(), err)
		}
		for _, name := range []string{i.PartPath(), i.SidecarPath(), i.SidecarPath() + Temporary} {
			if got, err := IDOfIngest(name[len(IngestDir)+1:]); err != nil || got != i {
				t.Errorf("%s is of %q, %v", name, got, err)
			}
		}
	}
	for _, d := range []digest.Digest{"", "sha256:", "sha256:..", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		if i, err := IDOf(d); err == nil {
			t.Errorf("%q became %q", d, i)
		}
	}
}
