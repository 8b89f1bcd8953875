package oci_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/testenv"
)

// costly returns what makes manifests of the greatest size, of the kinds that take the
// most memory.
func costly() map[string]func() string {
	many := func(open, element, end string) func() string {
		return func() string {
			return open + strings.Repeat(element+",", (oci.MaxManifestSize-len(open)-len(end)-len(element))/(len(element)+1)) + element + end
		}
	}
	layer := `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:` + strings.Repeat("a", 64) + `","size":1}`
	annotated := `{"digest":"sha256:` + strings.Repeat("a", 64) + `","annotations":{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":"","j":"","k":""}}`
	return map[string]func() string{
		"layers": func() string {
			layers := `{"layers":[` + layer + strings.Repeat(","+layer, 16<<10-1) + `],"x":"`
			return layers + strings.Repeat("x", oci.MaxManifestSize-len(layers)-2) + `"}`
		},
		"empty layers": many(`{"layers":[`, `{}`, `]}`),
		"empty lists":  many(`{"x":[`, `[]`, `]}`),
		"annotations": func() string {
			var names strings.Builder
			for i := 0; names.Len() < oci.MaxManifestSize-100; i++ {
				fmt.Fprintf(&names, `"%x":"",`, i)
			}
			return `{"annotations":{` + names.String() + `"z":""}}`
		},
		"annotated":          func() string { return `{"layers":[` + strings.Repeat(annotated+",", 9_000) + annotated + `]}` },
		"annotated children": many(`{"manifests":[`, annotated, `]}`),
		"addresses":          many(`{"layers":[{"urls":[`, `""`, `]}]}`),
		"features":           many(`{"manifests":[{"platform":{"os.features":[`, `""`, `]}}]}`),
		"depth":              func() string { return `{"x":` + strings.Repeat("[", 2<<20-10) + strings.Repeat("]", 2<<20-10) + `}` },
	}
}

// However many manifests of the greatest size come at once, they take little memory
// beyond their own bytes.
func TestManifestsAtOnceTakeLittleMemory(t *testing.T) {
	for name, manifest := range costly() {
		raw := []byte(manifest())
		if len(raw) > oci.MaxManifestSize+100 {
			t.Fatalf("%s: %d bytes", name, len(raw))
		}
		peak := testenv.PeakMemory(t, func() {
			var group sync.WaitGroup
			for range 6 {
				group.Go(func() { _, _, _ = oci.DecodeManifest("application/vnd.oci.image.manifest.v1+json", raw) })
			}
			group.Wait()
		})
		t.Logf("%s: %d MiB", name, peak>>20)
		if peak > 56<<20 {
			t.Errorf("%s: six at once take %d MiB", name, peak>>20)
		}
	}
}
