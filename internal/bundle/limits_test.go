package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/testenv"
)

// A list that is small in the file takes little memory, and is refused.
func TestListsTakeLittleMemory(t *testing.T) {
	const size = 8 << 20
	layout := file(layoutName, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	many := func(open, element, end string) []byte {
		return []byte(open + strings.Repeat(element+",", size/(len(element)+1)) + element + end)
	}
	d := `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:` + strings.Repeat("a", 64) + `"`
	listed := strings.TrimSuffix(strings.Repeat("sha256:"+strings.Repeat("a", 64)+",", size/72), ",")
	for name, entries := range map[string][]entry{
		"empty descriptors": {layout, file(indexName, many(`{"schemaVersion":2,"manifests":[`, `{}`, `]}`))},
		"descriptors":       {layout, file(indexName, many(`{"schemaVersion":2,"manifests":[`, d+`}`, `]}`))},
		"annotations":       {layout, file(indexName, many(`{"schemaVersion":2,"manifests":[`, d+`,"annotations":{"a":"","b":"","c":""}}`, `]}`))},
		"unknown member":    {layout, file(indexName, many(`{"schemaVersion":2,"x":[`, `[]`, `]}`))},
		"listed manifests":  {layout, file(indexName, []byte(`{"schemaVersion":2,"manifests":[`+strings.Repeat(d+`,"annotations":{"io.pullgate.bundle.manifests":"`+listed[:size/16/72*72-1]+`"}},`, 8)+d+`}]}`))},
		"docker save":       {file(dockerName, many(`[`, `{}`, `]`))},
		"docker's tags":     {file(dockerName, many(`[{"Config":"c","RepoTags":[`, `""`, `]}]`))},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bundle.tar")
			if err := os.WriteFile(path, tarOf(t, entries...), 0o600); err != nil {
				t.Fatal(err)
			}
			for how, read := range map[string]func() (*Reader, error){
				"file": func() (*Reader, error) { return Open(path) },
				"stream": func() (*Reader, error) {
					f, err := os.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					return OpenStream(f)
				},
			} {
				var err error
				peak := testenv.PeakMemory(t, func() {
					var r *Reader
					if r, err = read(); err == nil {
						_, err = readAll(r)
					}
				})
				t.Logf("%s: %d MiB, %.200v", how, peak>>20, err)
				if _, ok := errors.AsType[*DamageError](err); !ok {
					t.Errorf("%s: error is %v", how, err)
				}
				if peak > 64<<20 {
					t.Errorf("%s: it takes %d MiB", how, peak>>20)
				}
			}
		})
	}
}

// As many images as a bundle may have can be read, and no more are written.
func TestMostImages(t *testing.T) {
	image, _ := sample(t, "docker.io/library/alpine:3.20", 1)
	var x Index
	for n := range maxImages {
		image.Name.Reference = oci.Reference{Tag: fmt.Sprint("v", n)}
		image.Isolated = true
		x.Images = append(x.Images, image)
	}
	raw, err := x.encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeIndex(raw)
	if err != nil || len(got.Images) != maxImages || !got.Images[1].Isolated {
		t.Errorf("%d images, %v", len(got.Images), err)
	}
	x.Images = append(x.Images, image)
	if _, err := x.encode(); err == nil || !strings.Contains(err.Error(), "too many for one bundle") {
		t.Errorf("error is %v", err)
	}
}

// Images that need not be for everybody say so in the bundle, and others do not.
func TestIsolated(t *testing.T) {
	_, x, all := sampleBundle(t)
	x.Images[1].Isolated = true
	raw := write(t, x, all)
	if n := bytes.Count(raw, []byte(annotationIsolated)); n != 1 {
		t.Errorf("it is said %d times", n)
	}
	r, err := NewStream(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if images := r.Index().Images; images[0].Isolated || !images[1].Isolated {
		t.Errorf("images are %+v", images)
	}
	// Whatever the annotation says, it is there.
	said := bytes.Replace(untar(t, raw)[1].body, []byte(`"`+annotationIsolated+`": "true"`), []byte(`"`+annotationIsolated+`": ""`), 1)
	if got, err := decodeIndex(said); err != nil || !got.Images[1].Isolated {
		t.Errorf("%+v, %v", got, err)
	}
}

// A private bundle is its owner's only, also where an earlier one left its part.
func TestPrivateOutput(t *testing.T) {
	for _, name := range []string{"a.tar", "a.tar.zst", "a/"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			if strings.HasSuffix(name, "/") {
				path += "/"
			}
			left, err := Create(path, false)
			if err != nil {
				t.Fatal(err)
			}
			before, err := left.file.Stat()
			if err != nil {
				t.Fatal(err)
			}
			reading, err := os.Open(left.name + partial)
			if err := errors.Join(err, left.close()); err != nil {
				t.Fatal(err)
			}
			defer reading.Close()
			o, err := Create(path, true)
			if err != nil {
				t.Fatal(err)
			}
			part, err := os.Stat(o.name + partial)
			if err != nil || part.Mode()&0o077 != 0 || os.SameFile(before, part) {
				t.Errorf("the part is %v, the same as before: %v, %v", part.Mode(), os.SameFile(before, part), err)
			}
			_, x, all := sampleBundle(t)
			if err := errors.Join(Copy(o.Writer, reader(x, all), nil), o.Commit()); err != nil {
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil || info.Mode()&0o077 != 0 {
				t.Errorf("it is %v, %v", info.Mode(), err)
			}
			if r, err := Open(path); err != nil {
				t.Error(err)
			} else if got, err := readAll(r); err != nil || !same(got, all) {
				t.Errorf("%d pieces, %v", len(got), err)
			}
		})
	}
}

// What a bundle has, it has for the repositories of its images.
func TestBlobsByRepository(t *testing.T) {
	_, x, all := sampleBundle(t)
	path := filepath.Join(t.TempDir(), "a.tar")
	if err := os.WriteFile(path, write(t, x, all), 0o600); err != nil {
		t.Fatal(err)
	}
	index, blobs, err := Blobs(path)
	if err != nil || index == "" || len(blobs) != 2 {
		t.Fatalf("%s, %d repositories, %v", index, len(blobs), err)
	}
	a, b := blobs["docker.io/library/alpine"], blobs["ghcr.io/org/app"]
	if len(a) != 6 || len(b) != 6 {
		t.Errorf("%d and %d blobs", len(a), len(b))
	}
	for d := range a {
		if b[d] || all[d] == nil {
			t.Errorf("%s is there twice, or not at all", d)
		}
	}
}

// What an index lists and is no manifest is carried as a blob.
func TestBuildCache(t *testing.T) {
	name, err := ParseName("docker.io/org/cache:1")
	if err != nil {
		t.Fatal(err)
	}
	all := pieces{}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for n, mediaType := range []string{ocispec.MediaTypeImageLayerGzip, "application/vnd.buildkit.cacheconfig.v0"} {
		b := registrytest.Random(uint64(n), 1000)
		d := oci.Descriptor{MediaType: mediaType, Digest: oci.Sum(b), Size: 1000}
		all[d.Digest], index.Manifests = b, append(index.Manifests, d)
	}
	raw := encode(t, index)
	root := oci.Descriptor{MediaType: index.MediaType, Digest: oci.Sum(raw), Size: int64(len(raw))}
	all[root.Digest] = raw
	both(t, write(t, Index{Images: []Image{{Name: name, Descriptor: root, Manifests: []digest.Digest{}}}}, all), func(t *testing.T, got pieces, err error) {
		if err != nil || !same(got, all) {
			t.Errorf("%d pieces of %d, %v", len(got), len(all), err)
		}
	})
}
