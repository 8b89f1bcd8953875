package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Another reader finds everything in a bundle, and finds it valid.
func TestLayoutReadsBundle(t *testing.T) {
	_, x, all := sampleBundle(t)
	var tarred bytes.Buffer
	if err := Copy(NewWriter(&tarred), reader(x, all), nil); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(extract(t, tarred.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != len(x.Images) {
		t.Fatalf("%d images", len(manifest.Manifests))
	}
	for n, d := range manifest.Manifests {
		if got := d.Annotations["org.opencontainers.image.ref.name"]; got != x.Images[n].Name.String() {
			t.Errorf("image %d is %s", n, got)
		}
		image, err := index.ImageIndex(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		children, err := image.IndexManifest()
		if err != nil || len(children.Manifests) != 2 {
			t.Fatalf("%+v, %v", children, err)
		}
		for _, child := range children.Manifests {
			raw, err := path.Bytes(child.Digest)
			if err != nil || !bytes.Equal(raw, all[digest.Digest(child.Digest.String())]) {
				t.Errorf("%s: %v", child.Digest, err)
			}
		}
	}
}

// pulled is what another tool made and a Reader read.
func pulled(t *testing.T, r *Reader, err error) (Index, pieces) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	got, err := readAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return *r.Index(), got
}

func TestReadsLayout(t *testing.T) {
	image, err := random.Image(5000, 3)
	if err != nil {
		t.Fatal(err)
	}
	index, err := random.Index(3000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(image, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "3.20"})); err != nil {
		t.Fatal(err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": "ghcr.io/org/app:1",
	})); err != nil {
		t.Fatal(err)
	}
	var entries []entry
	for _, folder := range []string{".", "blobs/", "./blobs/sha256"} {
		entries = append(entries, entry{tar.Header{Typeflag: tar.TypeDir, Name: folder}, nil})
	}
	// The blobs first, as sorted by name.
	if err := filepath.Walk(folder, func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		entries = append(entries, file("./"+strings.TrimPrefix(name, folder+"/"), b))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	raw := tarOf(t, entries...)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(raw)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for what, begin := range map[string]func() (*Reader, error){
		"folder":      func() (*Reader, error) { return Open(folder) },
		"tar":         func() (*Reader, error) { return open(t, "a.tar", raw) },
		"stream":      func() (*Reader, error) { return OpenStream(bytes.NewReader(raw)) },
		"gzip":        func() (*Reader, error) { return open(t, "a.tar.gz", zipped.Bytes()) },
		"gzip stream": func() (*Reader, error) { return OpenStream(bytes.NewReader(zipped.Bytes())) },
	} {
		t.Run(what, func(t *testing.T) {
			r, err := begin()
			x, got := pulled(t, r, err)
			if len(x.Images) != 2 || !x.Images[0].Name.IsZero() || x.Images[0].Label != "3.20" || x.Images[1].Name.String() != "ghcr.io/org/app:1" {
				t.Errorf("images are %+v", x.Images)
			}
			want, err := image.Digest()
			if err != nil || got[digest.Digest(want.String())] == nil || len(got) != 1+1+3+1+2*(1+1+2) {
				t.Errorf("%d pieces, %v", len(got), err)
			}
		})
	}
}

// checkPulled compares an image that was read with the one that went in.
func checkPulled(t *testing.T, got pieces, root digest.Digest, want v1.Image) {
	t.Helper()
	folder := t.TempDir()
	o, err := Create(folder+"/", false)
	if err != nil {
		t.Fatal(err)
	}
	x := Index{Images: []Image{{Descriptor: oci.Descriptor{
		MediaType: "application/vnd.oci.image.manifest.v1+json", Digest: root, Size: int64(len(got[root])),
	}}}}
	if err := Copy(o.Writer, reader(x, got), nil); err != nil {
		t.Fatal(err)
	}
	if err := o.Commit(); err != nil {
		t.Fatal(err)
	}
	path, err := layout.FromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	hash, err := v1.NewHash(root.String())
	if err != nil {
		t.Fatal(err)
	}
	image, err := path.Image(hash)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(image); err != nil {
		t.Error(err)
	}
	config, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	if was, err := want.ConfigName(); err != nil || config != was {
		t.Errorf("config is %v, was %v, %v", config, was, err)
	}
}

// The archives of go-containerregistry, as kaniko, ko and bazel write them, have
// compressed layers.
func TestReadsTarball(t *testing.T) {
	image, err := random.Image(5000, 3)
	if err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("index.docker.io/library/alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := tarball.WriteToFile(path, tag, image); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	x, got := pulled(t, r, err)
	if len(x.Images) != 1 || x.Images[0].Name.String() != "docker.io/library/alpine:3" || len(got) != 1+1+3 {
		t.Fatalf("%+v, %d pieces", x.Images, len(got))
	}
	checkPulled(t, got, x.Images[0].Descriptor.Digest, image)
}

// oldArchive is one as docker save wrote it before version 25: layers without
// compression, one of them a link to the same of another image.
func oldArchive(t testing.TB, size int64, tags ...string) ([]entry, v1.Image) {
	t.Helper()
	image, err := random.Image(size, 2, random.WithSource(rand.NewSource(1)))
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if image, err = mutate.AppendLayers(image, layers[0]); err != nil {
		t.Fatal(err)
	}
	config, err := image.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	list := []dockerImage{{Config: oci.Sum(config).Encoded() + ".json", RepoTags: tags}}
	entries := []entry{file(list[0].Config, config)}
	for n, layer := range layers {
		content, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(content); err != nil {
			t.Fatal(err)
		}
		id := strings.Repeat("ab"[n:n+1], 64)
		entries = append(entries, entry{tar.Header{Typeflag: tar.TypeDir, Name: id + "/"}, nil}, file(id+"/VERSION", []byte("1.0")),
			file(id+"/json", []byte("{}")), file(id+"/layer.tar", b.Bytes()))
		list[0].Layers = append(list[0].Layers, id+"/layer.tar")
	}
	again := strings.Repeat("c", 64)
	entries = append(entries, entry{tar.Header{
		Typeflag: tar.TypeSymlink, Name: again + "/layer.tar", Linkname: "../" + strings.Repeat("a", 64) + "/layer.tar",
	}, nil})
	list[0].Layers = append(list[0].Layers, again+"/layer.tar")
	raw, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return append(entries, file("manifest.json", raw), file("repositories", []byte("{}"))), image
}

func TestReadsOldArchive(t *testing.T) {
	entries, image := oldArchive(t, 5000, "alpine:3", "ghcr.io/org/app:1")
	r, err := open(t, "a.tar", tarOf(t, entries...))
	x, got := pulled(t, r, err)
	if len(x.Images) != 2 || x.Images[0].Name.String() != "docker.io/library/alpine:3" || x.Images[1].Name.String() != "ghcr.io/org/app:1" {
		t.Fatalf("%+v", x.Images)
	}
	if len(got) != 1+1+2 {
		t.Errorf("%d pieces", len(got))
	}
	// The config is the one that went in, and the layers are what it says.
	config, err := image.ConfigName()
	if err != nil || got[digest.Digest(config.String())] == nil {
		t.Errorf("no config %v, %v", config, err)
	}
	contents, err := oci.ParseManifest(got[x.Images[0].Descriptor.Digest])
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil || len(contents.Blobs) != 1+len(layers) {
		t.Fatalf("%+v, %v", contents.Blobs, err)
	}
	for n, layer := range layers {
		if id, err := layer.DiffID(); err != nil || contents.Blobs[1+n].Digest.String() != id.String() {
			t.Errorf("layer %d is %s, want %v, %v", n, contents.Blobs[1+n].Digest, id, err)
		}
	}
}

func TestDamagedOldArchive(t *testing.T) {
	for what, test := range map[string]struct {
		damage func([]entry) []entry
		want   string
	}{
		"bit of a layer":  {func(e []entry) []entry { e[4].body[100] ^= 1; return e }, "layer.tar"},
		"bit of a config": {func(e []entry) []entry { e[0].body[3] ^= 1; return e }, ".json"},
		"no layer":        {func(e []entry) []entry { return append(e[:4:4], e[5:]...) }, "layer.tar"},
		"no config":       {func(e []entry) []entry { return e[1:] }, ".json"},
		"link outside":    {func(e []entry) []entry { e[len(e)-3].header.Linkname = "../../layer.tar"; return e }, "link out of the bundle"},
		"link to nothing": {func(e []entry) []entry { e[len(e)-3].header.Linkname = "../x/layer.tar"; return e }, "layer.tar"},
	} {
		t.Run(what, func(t *testing.T) {
			entries, _ := oldArchive(t, 5000, "alpine:3")
			r, err := open(t, "a.tar", tarOf(t, test.damage(entries)...))
			if err == nil {
				_, err = readAll(r)
			}
			if err == nil || !strings.Contains(err.Error(), "damaged") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one about %s", err, test.want)
			}
		})
	}
}
