package known

import (
	"fmt"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

func contentsOf(n, salt int) oci.Contents {
	var c oci.Contents
	for i := range n {
		c.Blobs = append(c.Blobs, oci.Descriptor{Digest: oci.Sum(fmt.Append(nil, salt, i)), Size: 1000})
	}
	if n > 0 {
		c.Config = c.Blobs[0].Digest
	}
	return c
}

// A layer finds the image of its scope, a config and a stranger do not, and an image
// begins once.
func TestImagesAreFoundByTheirLayers(t *testing.T) {
	var s Images
	now := time.Unix(1, 0)
	here, there := oci.Scope{Upstream: "docker.io", Repository: "a"}, oci.Scope{Upstream: "docker.io", Repository: "b"}
	c := contentsOf(3, 1)
	k := Key{here, oci.Sum([]byte("m"))}
	s.Add(k, c)
	config, layer := c.Blobs[0].Digest, c.Blobs[1].Digest
	for name, found := range map[string]bool{
		"config":        beginOf(&s, here, oci.Descriptor{Digest: config}, now),
		"another scope": beginOf(&s, there, oci.Descriptor{Digest: layer}, now),
		"another blob":  beginOf(&s, here, oci.Descriptor{Digest: oci.Sum(nil)}, now),
	} {
		if found {
			t.Errorf("%s begins an image", name)
		}
	}
	m, blobs := s.Begin(here, layer, now)
	if m == nil || len(blobs) != 3 || !blobs[2].config || blobs[2].Digest != config {
		t.Fatalf("%+v", blobs)
	}
	if beginOf(&s, here, c.Blobs[2], now) {
		t.Error("it begins twice")
	}
	s.End(m, now.Add(time.Minute))
	if beginOf(&s, here, c.Blobs[2], now) || !beginOf(&s, here, c.Blobs[2], now.Add(time.Minute)) {
		t.Error("it does not rest")
	}
}

func beginOf(s *Images, scope oci.Scope, d oci.Descriptor, now time.Time) bool {
	m, _ := s.Begin(scope, d.Digest, now)
	return m != nil
}

// However many manifests are served, and however large, so much is remembered.
func TestImagesAreBounded(t *testing.T) {
	var s Images
	scope := oci.Scope{Upstream: "docker.io", Repository: "a"}
	for i := range 600 {
		s.Add(Key{scope, oci.Sum(fmt.Append(nil, "m", i))}, contentsOf(i%2*3, i))
	}
	if n := s.order.Len(); n > maxImages || n != len(s.known) {
		t.Errorf("%d images, %d known", n, len(s.known))
	}
	last := contentsOf(3, 599)
	if m, _ := s.of(scope, last.Blobs[1].Digest); m == nil {
		t.Error("the last is forgotten")
	}
	for i := range 12 {
		s.Add(Key{scope, oci.Sum(fmt.Append(nil, "large", i))}, contentsOf(5000, 1000+i))
	}
	blobs := 0
	for _, e := range s.known {
		blobs += len(e.Value.(*Image).blobs)
	}
	if blobs > maxBlobs || blobs != s.blobs {
		t.Errorf("%d blobs, %d counted", blobs, s.blobs)
	}
}

// A manifest is read once, though it is served often, and again once it was forgotten.
func TestManifestIsReadOnce(t *testing.T) {
	var s Images
	scope := oci.Scope{Upstream: "docker.io", Repository: "a"}
	blob := oci.Sum([]byte("b"))
	raw := fmt.Appendf(nil, `{"layers":[{"digest":%q,"size":10}]}`, blob)
	mf := oci.Manifest{Digest: oci.Sum(raw), Bytes: raw}
	s.Served(scope, mf)
	if n := testing.AllocsPerRun(100, func() { s.Served(scope, mf) }); n > 0 {
		t.Errorf("%.0f allocations for one that is known", n)
	}
	s.slot(Key{scope, mf.Digest}).Store(&Key{scope, oci.Sum(nil)})
	s.Served(scope, oci.Manifest{Digest: mf.Digest, Bytes: []byte(`{"layers":[]}`)})
	if m, _ := s.of(scope, blob); m == nil {
		t.Error("it is read again since another one has its slot")
	}
	for i := range maxImages {
		s.Add(Key{scope, oci.Sum(fmt.Append(nil, "m", i))}, contentsOf(2, i))
	}
	if m, _ := s.of(scope, blob); m != nil {
		t.Fatal("it is not forgotten")
	}
	s.Served(scope, mf)
	if m, _ := s.of(scope, blob); m == nil {
		t.Error("it is not read again")
	}
}
