package fleet_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// An empty gateway has an image from the bucket, by tag and by digest, while the upstream
// is dead.
func TestEmptyGatewayServesWhileTheUpstreamIsDead(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 3<<20)
	newGateway(t, from, m).pull(image, 0)
	uploaded(t, m, image)

	from.Refuse()
	from.Reset()
	g := newGateway(t, from, m)
	_, status, err := g.manifest(repository, "3")
	if err != nil || status.Result != oci.ResultStale {
		t.Errorf("by tag: %v, %v", status, err)
	}
	g.pull(image, 0)
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
	// By digest, that is no news: the upstream need not be asked.
	g = newGateway(t, from, m)
	mf, status, err := g.manifest(repository, image.Platforms[0].Manifest.Digest.String())
	if err != nil || !strings.Contains(status.String(), "fwd=miss") || !strings.HasSuffix(status.String(), "; detail=bucket") {
		t.Errorf("manifest %s: %v, %v", mf.Digest, status, err)
	}
	_, status, err = g.blob(repository, image.Platforms[0].Layers[1].Digest)
	if err != nil || status.String() != "pullgate; fwd=miss; stored; detail=bucket" {
		t.Errorf("blob: %v, %v", status, err)
	}
	s := g.fleet.Status()
	if s.Received < 3<<20 || s.Failures > 0 || !s.OK() {
		t.Errorf("status is %+v", s)
	}
}

// What is cached and proven asks neither the bucket nor the upstream, and what came from
// the bucket is not written there again.
func TestHitsAskNobody(t *testing.T) {
	t.Parallel()
	from, m := registrytest.New(t, registrytest.Options{}), newMemory()
	image := from.PutImage(repository, "3", 1, 10, 2<<20)
	first, second := newGateway(t, from, m), newGateway(t, from, m)
	first.pull(image, 0)
	first.settled(0)
	uploaded(t, m, image)
	from.Reset()
	second.pull(image, 0)
	second.settled(0)
	if n := from.Count("GET", "blobs") + from.Count("GET", "manifests"); n > 0 {
		t.Errorf("the second gateway has got %d objects of the upstream", n)
	}
	m.mu.Lock()
	written := m.writes
	m.mu.Unlock()
	if want := len(m.keys("")); written != want {
		t.Errorf("%d writes of %d objects", written, want)
	}
	before := m.calls.Load()
	from.Reset()
	for range 3 {
		first.pull(image, 0)
		second.pull(image, 0)
	}
	if after := m.calls.Load(); after != before {
		t.Errorf("%d calls of the bucket", after-before)
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
}

// Whatever the bucket does, pulls end well, while it is read and while it is written.
func TestEveryFaultEndsInARightPull(t *testing.T) {
	for _, f := range faults() {
		for _, write := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/write %v", f.name, write), func(t *testing.T) {
				t.Parallel()
				from, m := registrytest.New(t, registrytest.Options{}), newMemory()
				image := from.PutImage(repository, "3", 1, 10, 300<<10, 2<<20)
				first := newHastyGateway(t, from, m)
				if write {
					m.fail(fault{}, f)
				}
				first.pull(image, 0)
				if !write {
					uploaded(t, m, image)
					m.fail(f, fault{})
				}
				// A large blob of wrong bytes is cut once, and right at the next try.
				second := newHastyGateway(t, from, m)
				second.pull(image, 1)
				second.pull(image, 0)
			})
		}
	}
}

// A bucket that is not there is no hindrance, neither at the start nor later.
func TestNoBucket(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	image := from.PutImage(repository, "3", 1, 10)
	g := newGateway(t, from, nil)
	g.pull(image, 0)
	if s := g.fleet.Status(); s != nil {
		t.Errorf("status is %+v", s)
	}
	// It may be told of one later.
	m := newMemory()
	g.fleet.Use("later", m)
	next := from.PutImage(repository, "4", 2, 10)
	g.pull(next, 0)
	uploaded(t, m, next)
	g.fleet.Use("", nil)
	g.pull(from.PutImage(repository, "5", 3, 10), 0)
}
