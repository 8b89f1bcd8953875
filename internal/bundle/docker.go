package bundle

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

// dockerName is where docker save lists its images.
const dockerName = "manifest.json"

// maxConfig is the greatest config of an image.
const maxConfig = 16 << 20

// dockerArchive is an archive of docker save as a layout: manifests are made for
// its images, and the rest lies in it under other names.
type dockerArchive struct {
	*archive
	made  map[string][]byte // by the entry of a layout
	names map[string]string
}

type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func newDocker(a *archive) (*Reader, error) {
	raw, err := readEntry(a, dockerName, maxIndex)
	if err != nil {
		return nil, err
	}
	var images oci.List[dockerImage]
	if err := oci.Decode(raw, &images); err != nil {
		return nil, damaged(dockerName, "", "%w", err)
	}
	d := &dockerArchive{archive: a, made: make(map[string][]byte), names: make(map[string]string)}
	var x Index
	for _, image := range images {
		root, err := d.add(image)
		if err != nil {
			return nil, err
		}
		for _, tag := range image.RepoTags {
			name, err := parseFamiliar(tag)
			if err != nil {
				return nil, damaged(dockerName, "", "%w", err)
			}
			x.Images = append(x.Images, Image{Name: name, Descriptor: root})
		}
		if len(image.RepoTags) == 0 {
			x.Images = append(x.Images, Image{Descriptor: root})
		}
	}
	return &Reader{index: x, source: &anyOrder{content: d}}, nil
}

// add makes the manifest of an image.
func (d *dockerArchive) add(image dockerImage) (oci.Descriptor, error) {
	name := path.Clean(image.Config)
	raw, err := readEntry(d.archive, name, maxConfig)
	if err != nil {
		return oci.Descriptor{}, err
	}
	config := oci.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: oci.Sum(raw), Size: int64(len(raw))}
	base := strings.TrimPrefix(strings.TrimSuffix(path.Base(name), ".json"), "sha256:")
	if stated, err := oci.ParseDigest("sha256:" + base); err == nil && stated != config.Digest {
		return oci.Descriptor{}, damaged(name, stated, "its bytes do not match the digest")
	}
	var document struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := oci.Decode(raw, &document); err != nil {
		return oci.Descriptor{}, damaged(name, config.Digest, "%w", err)
	}
	ids := document.RootFS.DiffIDs
	if len(ids) != len(image.Layers) {
		return oci.Descriptor{}, damaged(name, config.Digest, "it names %d layers, and %s %d", len(ids), dockerName, len(image.Layers))
	}
	d.names[blobName(config.Digest)] = name
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config,
		Layers: []oci.Descriptor{},
	}
	for n, layer := range image.Layers {
		desc, err := d.layer(path.Clean(layer), ids[n])
		if err != nil {
			return oci.Descriptor{}, err
		}
		manifest.Layers = append(manifest.Layers, desc)
	}
	made, err := json.Marshal(manifest)
	if err != nil {
		return oci.Descriptor{}, fmt.Errorf("make manifest: %w", err)
	}
	root := oci.Descriptor{MediaType: manifest.MediaType, Digest: oci.Sum(made), Size: int64(len(made))}
	d.made[blobName(root.Digest)] = made
	return root, nil
}

// layer returns the descriptor of a layer. As docker save writes them they are not
// compressed, and their digest is what the config says; other tools compress them,
// and then both are known only when they were read.
func (d *dockerArchive) layer(name string, id digest.Digest) (oci.Descriptor, error) {
	if _, err := oci.ParseDigest(id.String()); err != nil {
		return oci.Descriptor{}, damaged(name, "", "%w", err)
	}
	name = d.follow(name)
	p, err := d.archive.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Descriptor{}, damaged(name, id, "it is missing")
	}
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer p.Close()
	desc := oci.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: id, Size: p.size}
	buffered := bufio.NewReaderSize(p, 64<<10)
	head, err := buffered.Peek(len(magicGzip))
	if err != nil && !errors.Is(err, io.EOF) {
		return oci.Descriptor{}, broken(name, id, err)
	}
	if bytes.Equal(head, magicGzip) {
		desc.MediaType = ocispec.MediaTypeImageLayerGzip
		if desc.Digest, err = compressed(name, id, buffered); err != nil {
			return oci.Descriptor{}, err
		}
	}
	d.names[blobName(desc.Digest)] = name
	return desc, nil
}

// compressed verifies a compressed layer, and returns its digest.
func compressed(name string, id digest.Digest, r io.Reader) (digest.Digest, error) {
	outer, inner := digest.SHA256.Hash(), id.Algorithm().Hash()
	tee := io.TeeReader(r, outer)
	z, err := gzip.NewReader(tee)
	if err == nil {
		_, err = io.Copy(inner, z) //nolint:gosec // nothing of it is kept
	}
	if err == nil {
		_, err = io.Copy(io.Discard, tee)
	}
	if err != nil {
		return "", damaged(name, id, "%w", err)
	}
	if digest.NewDigest(id.Algorithm(), inner) != id {
		return "", damaged(name, id, "what it holds does not match the digest in the config")
	}
	return digest.NewDigest(digest.SHA256, outer), nil
}

func (d *dockerArchive) open(name string) (piece, error) {
	if raw, ok := d.made[name]; ok {
		return piece{io.NopCloser(bytes.NewReader(raw)), name, int64(len(raw))}, nil
	}
	if there, ok := d.names[name]; ok {
		return d.archive.open(there)
	}
	return piece{}, fs.ErrNotExist
}
