//go:build integration

package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The image of these tests. Docker Hub has no such repository, so that a client
// that goes around the gateway finds nothing.
const (
	imageRepository = "library/pullgate-integration"
	imageTag        = "1.0"
	imageReference  = "docker.io/" + imageRepository + ":" + imageTag
)

var (
	architectures = []string{"amd64", "arm64"}
	// contents are the Debian packages that the layers are made of.
	contents = []string{"hello", "busybox-static"}
)

// image is an OCI index over one manifest per architecture.
type image struct {
	index ocispec.Descriptor
	// manifests has the index too.
	manifests map[digest.Digest]content
	blobs     map[digest.Digest]content
	// platforms has the blobs of each, in the order of architectures.
	platforms [][]ocispec.Descriptor
}

type content struct {
	mediaType string
	raw       []byte
}

var made struct {
	sync.Mutex
	image *image
}

// testImage returns the image, the same one in all tests.
func testImage(t *testing.T) *image {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.image != nil {
		return made.image
	}
	i := &image{manifests: map[digest.Digest]content{}, blobs: map[digest.Digest]content{}}
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	for _, architecture := range architectures {
		platform := ocispec.Platform{OS: "linux", Architecture: architecture}
		config := ocispec.Image{Platform: platform}
		config.Config.Cmd = []string{"/usr/bin/hello"}
		config.RootFS.Type = "layers"
		manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
		for _, deb := range download(t, architecture, contents) {
			tar := filesOf(t, deb)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(tar))
			manifest.Layers = append(manifest.Layers, put(i.blobs, ocispec.MediaTypeImageLayerGzip, compress(t, tar)))
		}
		manifest.Config = put(i.blobs, ocispec.MediaTypeImageConfig, marshal(t, config))
		i.platforms = append(i.platforms, append(manifest.Layers[:len(contents):len(contents)], manifest.Config))
		descriptor := put(i.manifests, manifest.MediaType, marshal(t, manifest))
		descriptor.Platform = &platform
		index.Manifests = append(index.Manifests, descriptor)
	}
	i.index = put(i.manifests, index.MediaType, marshal(t, index))
	made.image = i
	return i
}

func put(into map[digest.Digest]content, mediaType string, raw []byte) ocispec.Descriptor {
	d := digest.FromBytes(raw)
	into[d] = content{mediaType, raw}
	return ocispec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(raw))}
}

// download gets Debian packages of an architecture, which need not be the
// machine's, and returns their files. apt works in folders of its own: the
// machine's package lists stay as they are.
func download(t *testing.T, architecture string, names []string) []string {
	t.Helper()
	dir := filepath.Join(packages, architecture)
	if err := os.MkdirAll(filepath.Join(dir, "lists", "partial"), 0o755); err != nil {
		t.Fatal(err)
	}
	apt := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "apt-get", append([]string{
			"-qq", "-o", "APT::Architecture=" + architecture, "-o", "APT::Architectures=" + architecture,
			"-o", "Dir::State::Lists=" + filepath.Join(dir, "lists"), "-o", "Dir::Cache=" + dir,
			"-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root",
		}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("apt-get %v for %s: %v\n%s", args, architecture, err, out)
		}
	}
	apt("update")
	apt(append([]string{"download"}, names...)...)
	debs := make([]string, 0, len(names))
	for _, name := range names {
		found, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("apt-get download %s for %s left %q (%v)", name, architecture, found, err)
		}
		debs = append(debs, found[0])
	}
	return debs
}

// filesOf returns the files of a Debian package as a tar archive.
func filesOf(t *testing.T, deb string) []byte {
	t.Helper()
	tar, err := exec.CommandContext(t.Context(), "dpkg-deb", "--fsys-tarfile", deb).Output()
	if err != nil {
		t.Fatalf("dpkg-deb --fsys-tarfile %s: %v", deb, err)
	}
	return tar
}

func compress(t *testing.T, tar []byte) []byte {
	t.Helper()
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	if _, err := writer.Write(tar); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	return compressed.Bytes()
}

// blobBytes returns the size of all blobs of the first so many platforms.
func (i *image) blobBytes(platforms int) (n int64) {
	for _, blobs := range i.platforms[:platforms] {
		for _, blob := range blobs {
			n += blob.Size
		}
	}
	return n
}

// writeLayout writes the image as an OCI layout.
func (i *image) writeLayout(t *testing.T, dir string) {
	t.Helper()
	tagged := i.index
	tagged.Annotations = map[string]string{ocispec.AnnotationRefName: imageTag}
	writeFile(t, `{"imageLayoutVersion":"1.0.0"}`, dir, ocispec.ImageLayoutFile)
	writeFile(t, string(marshal(t, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []ocispec.Descriptor{tagged},
	})), dir, "index.json")
	for _, contents := range []map[digest.Digest]content{i.manifests, i.blobs} {
		for d, c := range contents {
			writeFile(t, string(c.raw), dir, "blobs", d.Algorithm().String(), d.Encoded())
		}
	}
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
