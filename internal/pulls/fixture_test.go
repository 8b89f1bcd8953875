package pulls

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registry"
)

const (
	hub  = "docker.io"
	repo = "library/nginx"
	node = "talos@10.0.0.5"
)

// world is a Tracker and what happens around it.
type world struct {
	*Tracker

	tb        testing.TB
	manifests map[digest.Digest]oci.Manifest
	running   []mirror.FillEvent
	ended     []operate.Pull
	lines     bytes.Buffer
}

func newWorld(tb testing.TB) *world {
	w := &world{tb: tb, manifests: map[digest.Digest]oci.Manifest{}}
	w.Tracker = New(Options{
		Running: func() []mirror.FillEvent { return w.running },
		Ended:   func(p operate.Pull) { w.ended = append(w.ended, p) },
		Log:     slog.New(slog.NewTextHandler(&w.lines, nil)), Now: time.Now,
		AfterFunc: func(d time.Duration, fn func()) { time.AfterFunc(d, fn) },
	})
	return w
}

// image is one of the platforms of an index, and what that points to.
type image struct {
	children        []ocispec.Descriptor
	index, manifest digest.Digest
	blobs           []digest.Digest // the config first; all of 1000 bytes
}

// image stores an image with so many layers.
func (w *world) image(name string, layers int) image {
	var i image
	return w.platform(&i, name, layers)
}

// platform adds one to an image, and returns it.
func (w *world) platform(to *image, name string, layers int) image {
	var i image
	put := func(v any, mediaType string) digest.Digest {
		raw, err := json.Marshal(v)
		if err != nil {
			w.tb.Fatal(err)
		}
		d := digest.FromBytes(raw)
		w.manifests[d] = oci.Manifest{MediaType: mediaType, Digest: d, Bytes: raw}
		return d
	}
	descriptor := func(n int) ocispec.Descriptor {
		d := digest.FromString(fmt.Sprint(name, n))
		i.blobs = append(i.blobs, d)
		return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: d, Size: 1000}
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: descriptor(0)}
	for n := range layers {
		m.Layers = append(m.Layers, descriptor(n+1))
	}
	i.manifest = put(m, m.MediaType)
	platforms := []ocispec.Platform{{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"}}
	to.children = append(to.children, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: i.manifest, Size: 500, Platform: &platforms[len(to.children)],
	})
	i.children = to.children
	i.index = put(ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: to.children}, ocispec.MediaTypeImageIndex)
	to.index = i.index
	return i
}

// call is a request under way.
type call struct {
	w *world
	r *http.Request
	a *registry.Answer
}

// ask begins a request: of a client, "HEAD" or "GET", for a tag, a manifest's digest or, with
// a size, for a blob.
func (w *world) ask(client, method string, kind oci.Kind, reference string) *call {
	user, _, _ := strings.Cut(client, "@")
	q := oci.Request{Kind: kind, Upstream: hub, Repository: repo, User: user, Client: client}
	if strings.Contains(reference, ":") {
		q.Reference.Digest = digest.Digest(reference)
	} else {
		q.Reference.Tag = reference
	}
	c := &call{w, httptest.NewRequest(method, "/", nil), &registry.Answer{Request: q}}
	w.Begin(c.r, c.a)
	return c
}

func (c *call) header(result oci.Result, d digest.Digest) *call {
	c.a.Status, c.a.Cache.Result, c.a.Digest, c.a.Manifest = http.StatusOK, result, d, c.w.manifests[d]
	c.w.Header(c.r, c.a)
	return c
}

func (c *call) done(bytes int64) oci.Result {
	c.a.Bytes = bytes
	c.w.Done(c.r, c.a)
	return c.a.Cache.Result
}

// fail answers with an error.
func (c *call) fail(status int, err error) {
	c.a.Status, c.a.Err, c.a.Aborted = status, err, status == 499
	c.w.Header(c.r, c.a)
	c.w.Done(c.r, c.a)
}

// get is a whole request for a manifest, or of a blob, and returns how it was answered.
func (w *world) get(client string, kind oci.Kind, d digest.Digest, result oci.Result) oci.Result {
	bytes := int64(1000)
	if kind == oci.KindManifest {
		bytes = int64(len(w.manifests[d].Bytes))
	}
	return w.ask(client, http.MethodGet, kind, d.String()).header(result, d).done(bytes)
}

// head is the look-up of a tag, as containerd begins.
func (w *world) head(client, tag string, d digest.Digest) {
	w.ask(client, http.MethodHead, oci.KindManifest, tag).header(oci.ResultMiss, d).done(0)
}

// download is one for a client: it begins, and done ends it.
func (w *world) download(client string, d digest.Digest, ahead bool) (done func()) {
	e := mirror.FillEvent{Upstream: hub, Repository: repo, Client: client, Ahead: ahead, Digest: d, Size: 1000}
	w.Fill(e)
	asking := e
	asking.Asking = true
	w.Fill(asking)
	return func() {
		e.Finished, e.Bytes = true, 1000
		w.Fill(e)
	}
}

// sizes returns how much is remembered.
func (w *world) sizes() (pulls, clients, images, recent int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, of := range w.Tracker.running {
		pulls += len(of)
	}
	h := w.history
	return pulls, len(h.clients), len(h.images), len(h.recent) + len(h.failed)
}
