package mirror_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// wantHead asks with HEAD, and for what that cost the upstream.
func (f *fixture) wantHead(name string, want oci.Descriptor, heads, gets int) {
	f.t.Helper()
	d, _, err := f.mirror.StatManifest(f.t.Context(), manifestRequest(name))
	if err != nil || d.Digest != want.Digest || d.Size != want.Size || d.MediaType != want.MediaType {
		f.t.Errorf("%s is %+v, %v, want %+v", name, d, err, want)
	}
	f.saw(heads, gets)
}

// TestHeadIsConfirmed: a client that asks with HEAD may pin what it is told, so that a
// manifest that nobody has seen is got. Who asks for it then finds it here.
func TestHeadIsConfirmed(t *testing.T) { bubble(testHeadIsConfirmed)(t) }

func testHeadIsConfirmed(t *testing.T) {
	f := newFixture(t)
	f.connect(upstream.Options{})
	old := f.upstream.PutImage(repository, "3", 1, 10)
	f.wantHead("3", old.Index, 1, 1)
	f.wantManifest(old.Index.Digest.String(), old.IndexBytes)
	f.wantManifest("3", old.IndexBytes)
	f.saw(0, 0)
	f.clock.advance(ttl)
	f.wantHead("3", old.Index, 1, 0)
	f.upstream.PutTag(repository, "same", old.Index.Digest)
	f.wantHead("same", old.Index, 1, 0)
	moved := f.upstream.PutImage(repository, "3", 2, 10)
	f.clock.advance(ttl)
	f.wantHead("3", moved.Index, 1, 1)
}

// TestHeadThatLies: whatever a HEAD says of a tag, clients are told what the bytes say.
// The registry is asked with a GET at once from then on, for a while.
func TestHeadThatLies(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string][2]string{
		"digest": {"Docker-Content-Digest", oci.Sum([]byte("x")).String()},
		"length": {"Content-Length", "7"},
		"type":   {"Content-Type", oci.MediaTypeDockerManifest},
	} {
		t.Run(name, bubble(func(t *testing.T) {
			f := newFixture(t)
			f.connect(upstream.Options{})
			image, other := f.upstream.PutImage(repository, "3", 1, 10), f.upstream.PutImage(repository, "4", 2, 10)
			f.upstream.On(registrytest.Rule{Kind: "manifests", Method: http.MethodHead, Hook: registrytest.Spoil{
				Header: func(h http.Header) { h.Set(lie[0], lie[1]) },
			}.Hook()})
			f.wantHead("3", image.Index, 1, 1)
			f.wantManifest(image.Index.Digest.String(), image.IndexBytes)
			f.saw(0, 0)
			if name != "digest" {
				return
			}
			f.wantHead("4", other.Index, 0, 1)
			moved := f.upstream.PutImage(repository, "3", 3, 10)
			f.clock.advance(ttl)
			f.wantHead("3", moved.Index, 0, 1)
			f.clock.advance(5 * time.Minute)
			f.wantHead("3", moved.Index, 1, 1)
		}))
	}
}

// TestHeadThatCannotBeConfirmed: what the HEAD told has to do where no bytes come, or
// where they are counted. A client that wants them gets them as ever.
func TestHeadThatCannotBeConfirmed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{401, 403, 404, 406, 429, 500, 503} {
		f := newFixture(t)
		f.connect(upstream.Options{MaxFails: -1})
		image := f.upstream.PutImage(repository, "3", 1, 10)
		f.upstream.On(registrytest.Rule{
			Kind: "manifests", Method: http.MethodGet, Reference: "3", Hook: registrytest.Answer(status, nil, ""),
		})
		d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
		if err != nil || d.Digest != image.Index.Digest {
			t.Errorf("%d: %+v, %v", status, d, err)
		}
		if status == http.StatusTooManyRequests {
			continue // the limit is heeded, also for the digest
		}
		f.wantManifest("3", image.IndexBytes)
	}
	for body, class := range map[string]oci.Class{"no JSON": oci.ClassNotRegistry, strings.Repeat(" ", 5<<20): oci.ClassLength} {
		f := newFixture(t)
		f.connect(upstream.Options{})
		f.upstream.PutImage(repository, "3", 1, 10)
		f.upstream.On(registrytest.Rule{Kind: "manifests", Method: http.MethodGet, Hook: registrytest.Answer(http.StatusOK, nil, body)})
		if _, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("3")); oci.ClassOf(err) != class {
			t.Errorf("%.20q: %v", body, err)
		}
		f.saw(1, 1)
		_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
		wantStatus(t, err, http.StatusBadGateway)
		f.saw(0, 0)
	}
	f := newFixture(t)
	f.connect(upstream.Options{})
	image := f.upstream.PutImage(repository, "3", 1, 10)
	f.counting()
	f.wantHead("3", image.Index, 1, 0)
	f.clock.advance(ttl)
	f.wantHead("3", image.Index, 1, 0)
	f.wantManifest("3", image.IndexBytes)
	f.saw(0, 1)
}

// TestTagThatMovesBeforeTheGet: the tag moves between our own HEAD and GET, and what it
// meant is deleted.
func TestTagThatMovesBeforeTheGet(t *testing.T) {
	t.Parallel()
	for _, counted := range []bool{false, true} {
		for _, head := range []bool{false, true} {
			t.Run(fmt.Sprintf("counted %t, head %t", counted, head), bubble(func(t *testing.T) {
				f := newFixture(t)
				f.connect(upstream.Options{})
				old := f.upstream.PutImage(repository, "3", 1, 10)
				var moved registrytest.Image
				f.upstream.On(registrytest.Rule{Kind: "manifests", Method: http.MethodHead, Times: 1, Hook: func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
					if counted {
						w.Header().Set("Ratelimit-Remaining", "76;w=3600")
					}
					next(w, r)
					moved = f.upstream.PutImage(repository, "3", 2, 10)
					f.missing(old)
				}})
				if head && !counted {
					d, _, err := f.mirror.StatManifest(t.Context(), manifestRequest("3"))
					if err != nil || d.Digest != moved.Index.Digest {
						t.Errorf("HEAD: %s, %v", d.Digest, err)
					}
				}
				m, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
				if err != nil || m.Digest != moved.Index.Digest {
					t.Errorf("%s, %v", m.Digest, err)
				}
			}))
		}
	}
}
