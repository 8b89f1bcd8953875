//go:build fleet

package fleet

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

const repository = "library/alpine"

// A new gateway, with nothing on its disk and a dead upstream, serves an image that
// another one has pulled, by tag and by digest, without an upstream request. What the
// upstream has not confirmed for another repository, it does not serve there.
func TestEmptyGateway(t *testing.T) {
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10, 1<<20, 20<<20)
	first := newGateway(t, from, shared)
	first.pull(image)
	uploaded(t, shared.open(), image)

	second := newGateway(t, from, shared)
	layer := "/blobs/" + image.Platforms[0].Layers[1].Digest.String()
	if status, body, _ := second.get("library/other", layer); status != http.StatusNotFound {
		t.Errorf("another repository gets status %d and %d bytes", status, len(body))
	}
	from.Refuse()
	from.Reset()
	await(t, "the bucket sends it", func() bool {
		status, _, cached := second.get(repository, layer)
		return status == http.StatusOK && strings.HasSuffix(cached, "detail=bucket")
	})
	second.pull(image)
	if status, body, _ := second.get("library/other", layer); status == http.StatusOK {
		t.Errorf("another repository gets %d bytes", len(body))
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
	if s := second.status(); s == nil || s.Received < 21<<20 {
		t.Errorf("status is %+v", s)
	}
}

// An upstream that no gateway may ask any more is served from the bucket, also by one that
// begins with nothing.
func TestOfflineUpstream(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10, 1<<20)
	newGateway(t, from, shared).pull(image)
	uploaded(t, shared.open(), image)
	from.Reset()
	g := newGateway(t, from, shared, "offline")
	g.pull(image)
	if status, _, _ := g.get("library/other", "/blobs/"+image.Platforms[0].Layers[1].Digest.String()); status != http.StatusNotFound {
		t.Errorf("another repository gets status %d", status)
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d upstream requests", n)
	}
}

// A gateway whose bucket is not there starts and pulls; once it comes, it is used.
func TestBucketIsAbsentAtStart(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t)
	first, second := from.PutImage(repository, "3", 1, 10, 1<<20), from.PutImage(repository, "4", 2, 10)
	g := newGateway(t, from, shared)
	g.pull(first)
	shared.run()
	g.pull(second)
	uploaded(t, shared.open(), first)
	uploaded(t, shared.open(), second)
	await(t, "uploads", func() bool { return g.status().Waiting == 0 })
	from.Refuse()
	newGateway(t, from, shared).pull(first)
}

// A gateway that is older than the bucket brings all that it has there, and goes back to
// being alone.
func TestMigration(t *testing.T) {
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 10, 2<<20)
	old := newGateway(t, from, nil)
	old.pull(image)
	if s := old.status(); s != nil {
		t.Errorf("status is %+v", s)
	}
	reload := func(shared *s3) {
		t.Helper()
		old.configure(from, shared)
		if out, err := old.command("reload", "--config", old.config, "--address", "unix/"+old.admin); err != nil {
			t.Fatalf("reload: %v\n%s", err, out)
		}
	}
	reload(shared)
	for range 2 {
		out, err := old.command("mirror", "sync", "--address", "unix/"+old.admin)
		if err != nil || !bytes.Contains(out, []byte("compared")) {
			t.Fatalf("sync: %v\n%s", err, out)
		}
	}
	from.Refuse()
	newGateway(t, from, shared).pull(image)
	shared.stop()
	reload(nil)
	old.pull(image)
	if out, err := old.command("mirror", "sync", "--address", "unix/"+old.admin); err == nil || !bytes.Contains(out, []byte("no fleet is configured")) {
		t.Errorf("sync without a bucket: %v\n%s", err, out)
	}
}

// What the server has laid down wrong is not served, and is replaced.
func TestWrongObject(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 500<<10)
	newGateway(t, from, shared).pull(image)
	b := shared.open()
	uploaded(t, b, image)
	layer := image.Platforms[0].Layers[0]
	key := "v1/b/sha256/" + layer.Digest.Encoded()
	wrong := bytes.Repeat([]byte{7}, int(layer.Size))
	if err := b.Put(t.Context(), key, bytes.NewReader(wrong), layer.Size, noOptions); err != nil {
		t.Fatal(err)
	}
	// Where the bucket takes long to answer, the upstream sends it, and nobody sees what is wrong.
	await(t, "a gateway reads it", func() bool {
		g := newGateway(t, from, shared)
		g.pull(image)
		return g.status().Received >= layer.Size
	})
	await(t, "replacement", func() bool {
		o, err := b.Get(t.Context(), key, 0, -1)
		if err != nil {
			return false
		}
		defer o.Close()
		var now bytes.Buffer
		_, err = now.ReadFrom(o)
		return err == nil && oci.Verify(layer.Digest, now.Bytes())
	})
}
