package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	imageBlobs    = 6
	imageBlobSize = 50_000_000
	largeSize     = 1 << 30
)

// image is what the upstream has: files named by their digests, and manifests.
type image struct {
	dir              string
	manifest, config []byte
	digest           digest.Digest
	blobs            []oci.Descriptor // the configuration first
	large            oci.Descriptor   // a blob by itself, which the image "large" names
	largeManifest    []byte
}

func makeImage(dir string) (*image, error) {
	i := &image{dir: filepath.Join(dir, "content")}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return nil, err
	}
	i.config = []byte(`{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`)
	config, err := i.write(bytes.NewReader(i.config))
	if err != nil {
		return nil, err
	}
	i.blobs = append(i.blobs, config)
	for k := range imageBlobs {
		d, err := i.write(io.LimitReader(rand.NewChaCha8([32]byte{byte(k + 1)}), imageBlobSize))
		if err != nil {
			return nil, err
		}
		i.blobs = append(i.blobs, d)
	}
	if i.large, err = i.write(io.LimitReader(rand.NewChaCha8([32]byte{99}), largeSize)); err != nil {
		return nil, err
	}
	if i.manifest, err = manifestOf(i.blobs); err != nil {
		return nil, err
	}
	i.digest = digest.FromBytes(i.manifest)
	i.largeManifest, err = manifestOf([]oci.Descriptor{config, i.large})
	return i, err
}

func (i *image) write(content io.Reader) (oci.Descriptor, error) {
	f, err := os.CreateTemp(i.dir, "")
	if err != nil {
		return oci.Descriptor{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(io.MultiWriter(f, h), content, make([]byte, 1<<20))
	if err != nil {
		return oci.Descriptor{}, err
	}
	d := digest.NewDigest(digest.SHA256, h)
	return oci.Descriptor{Digest: d, Size: n}, os.Rename(f.Name(), filepath.Join(i.dir, d.Encoded()))
}

func manifestOf(blobs []oci.Descriptor) ([]byte, error) {
	type descriptor struct {
		MediaType string        `json:"mediaType"`
		Digest    digest.Digest `json:"digest"`
		Size      int64         `json:"size"`
	}
	m := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{SchemaVersion: 2, MediaType: manifestType}
	for k, b := range blobs {
		d := descriptor{"application/vnd.oci.image.layer.v1.tar", b.Digest, b.Size}
		if k == 0 {
			d.MediaType = "application/vnd.oci.image.config.v1+json"
			m.Config = d
			continue
		}
		m.Layers = append(m.Layers, d)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return text, nil
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"
