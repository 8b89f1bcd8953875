package image_test

import (
	"testing"

	"github.com/pullgate/pullgate/internal/image"
)

// Layers that another image has brought are not pulled again, and do not count as if.
func TestWhatWasThereIsNotPulled(t *testing.T) {
	f := newFixture(t)
	f.registry.PutImage("library/alpine", "3", 1, 2000, 3<<20)
	f.registry.PutImage("library/copy", "3", 1, 2000, 3<<20)
	f.preload(1, image.PreloadOptions{}, "alpine:3")
	var last image.PreloadProgress
	var pulled image.Pulled
	f.preload(1, image.PreloadOptions{
		Progress: func(p image.PreloadProgress) { last = p }, Pulled: func(p image.Pulled) { pulled = p },
	}, "copy:3")
	if pulled.Bytes != 0 || pulled.Size < 6<<20 || pulled.Blobs != 6 {
		t.Errorf("pulled %+v", pulled)
	}
	if last.Bytes != 0 || last.Known != 1 || last.Size != pulled.Size || last.Present != last.Size {
		t.Errorf("progress is %+v", last)
	}
}
