package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	layoutName = ocispec.ImageLayoutFile
	indexName  = ocispec.ImageIndexFile
	blobsName  = ocispec.ImageBlobsDir

	// annotationName is what containerd and Docker name images by; tools that write
	// it leave only the tag for the image spec's own annotation.
	annotationName = "io.containerd.image.name"
	// annotationManifests lists the manifests below an image that are in the bundle.
	annotationManifests = "io.pullgate.bundle.manifests"
	// annotationOrder marks an index.json that stands before everything else.
	annotationOrder = "io.pullgate.bundle.order"
	orderFirst      = "manifests-first"
	// annotationIsolated marks an image that need not be for everybody.
	annotationIsolated = "io.pullgate.bundle.isolated"
	isolatedYes        = "true"
	// annotationSince lists the index.json that a bundle continues.
	annotationSince = "io.pullgate.bundle.since"
)

const (
	maxLayoutFile = 4 << 10
	// maxIndex is the greatest index.json, or list of docker save, maxImages how many
	// images it may have, and maxListed how many manifests may be listed below them:
	// some dozens of MiB in memory.
	maxIndex  = 16 << 20
	maxImages = 10_000
	maxListed = 1 << 17
	// maxBlob is the greatest blob. Registries stop far below.
	maxBlob = 1 << 40
)

// Image is one image of a layout.
type Image struct {
	// Name is the whole name; zero if the layout does not tell it.
	Name Name
	// Label is what the layout calls the image instead: a bare tag, or whatever the
	// tool was given; empty = nothing.
	Label string
	// Descriptor is that of the root: an index, or the manifest of an image.
	Descriptor oci.Descriptor
	// Manifests are those below an index that are in the bundle, in order; nil = not
	// known, any may be missing.
	Manifests []digest.Digest
	// Isolated says that the upstream that it came from need not answer everybody.
	Isolated bool
}

// String returns how the layout calls the image.
func (i Image) String() string {
	switch {
	case !i.Name.IsZero():
		return i.Name.String()
	case i.Label != "":
		return i.Label
	}
	return i.Descriptor.Digest.String()
}

// Index is what a bundle says of itself.
type Index struct {
	Images []Image
	// Since are the digests of the index.json of bundles that this one continues:
	// their blobs may be missing.
	Since []digest.Digest
	// Digest is that of the index.json that was read; empty if there was none.
	Digest digest.Digest

	// ordered says that manifests come before what they point to.
	ordered bool
}

// encode returns the index.json, always the same for the same images.
func (x Index) encode() ([]byte, error) {
	if len(x.Images) > maxImages {
		return nil, fmt.Errorf("%d images are too many for one bundle, which has %d at most", len(x.Images), maxImages)
	}
	document := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex,
		Manifests:   []oci.Descriptor{},
		Annotations: map[string]string{annotationOrder: orderFirst},
	}
	if len(x.Since) > 0 {
		document.Annotations[annotationSince] = join(x.Since)
	}
	for _, image := range x.Images {
		d := oci.Descriptor{
			MediaType: image.Descriptor.MediaType, Digest: image.Descriptor.Digest, Size: image.Descriptor.Size,
			Annotations: map[string]string{},
		}
		if !image.Name.IsZero() {
			d.Annotations[ocispec.AnnotationRefName] = image.Name.String()
			d.Annotations[annotationName] = image.Name.String()
		}
		if image.Manifests != nil {
			d.Annotations[annotationManifests] = join(image.Manifests)
		}
		if image.Isolated {
			d.Annotations[annotationIsolated] = isolatedYes
		}
		document.Manifests = append(document.Manifests, d)
	}
	raw, err := json.MarshalIndent(document, "", "  ")
	if err == nil && len(raw) >= maxIndex {
		err = fmt.Errorf("%d images with all their platforms are too many for one bundle", len(x.Images))
	}
	return append(raw, '\n'), err
}

func join(ds []digest.Digest) string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return strings.Join(texts, ",")
}

func split(s string) ([]digest.Digest, error) {
	ds := []digest.Digest{}
	if s == "" {
		return ds, nil
	}
	for text := range strings.SplitSeq(s, ",") {
		d, err := oci.ParseDigest(text)
		if err != nil {
			return nil, err
		}
		ds = append(ds, d)
	}
	return ds, nil
}

// checkLayout reads the file oci-layout.
func checkLayout(raw []byte) error {
	var layout ocispec.ImageLayout
	if err := json.Unmarshal(raw, &layout); err != nil {
		return damaged(layoutName, "", "%w", err)
	}
	if !strings.HasPrefix(layout.Version, "1.") {
		return damaged(layoutName, "", "version %q of the image layout: want 1.0.0", oci.Clip(layout.Version))
	}
	return nil
}

// decodeIndex reads an index.json of any tool.
func decodeIndex(raw []byte) (x Index, err error) {
	var document struct {
		SchemaVersion int                      `json:"schemaVersion"`
		Manifests     oci.List[oci.Descriptor] `json:"manifests"`
		Annotations   map[string]string        `json:"annotations"`
	}
	if err := oci.Decode(raw, &document); err != nil {
		return Index{}, damaged(indexName, "", "%w", err)
	}
	if document.SchemaVersion != 2 {
		return Index{}, damaged(indexName, "", "schemaVersion is %d: want 2", document.SchemaVersion)
	}
	x.Digest = oci.Sum(raw)
	x.ordered = document.Annotations[annotationOrder] == orderFirst
	if since := document.Annotations[annotationSince]; since != "" {
		if x.Since, err = split(since); err != nil {
			return Index{}, damaged(indexName, "", "%s: %w", annotationSince, err)
		}
	}
	if n := len(document.Manifests); n > maxImages {
		return Index{}, damaged(indexName, "", "it has %d images, %d are the most", n, maxImages)
	}
	listed := 0
	for _, d := range document.Manifests {
		if listed += strings.Count(d.Annotations[annotationManifests], ",") + 1; listed > maxListed {
			return Index{}, damaged(indexName, "", "it lists more than %d manifests", maxListed)
		}
		image, err := decodeImage(d)
		if err != nil {
			return Index{}, damaged(indexName, "", "%w", err)
		}
		x.Images = append(x.Images, image)
	}
	return x, nil
}

func decodeImage(d oci.Descriptor) (image Image, err error) {
	if _, err := oci.ParseDigest(d.Digest.String()); err != nil {
		return Image{}, err
	}
	if d.Size < 0 || d.Size > oci.MaxManifestSize {
		return Image{}, fmt.Errorf("manifest %s is said to have %d bytes", d.Digest, d.Size)
	}
	image.Descriptor = oci.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	image.Label = d.Annotations[ocispec.AnnotationRefName]
	_, image.Isolated = d.Annotations[annotationIsolated]
	for _, text := range []string{d.Annotations[annotationName], image.Label} {
		name, err := ParseName(text)
		if err != nil || name.Reference == (oci.Reference{}) {
			continue
		}
		if name.Reference.IsDigest() && name.Reference.Digest != d.Digest {
			return Image{}, fmt.Errorf("%s is the name of manifest %s", name, d.Digest)
		}
		image.Name = name
		break
	}
	if list, ok := d.Annotations[annotationManifests]; ok {
		if image.Manifests, err = split(list); err != nil {
			return Image{}, fmt.Errorf("%s: %w", annotationManifests, err)
		}
	}
	return image, nil
}

// Rename gives the images the names under which they are to be imported. as is a
// whole name, for the one image that there is; or a repository, whose tags the bare
// tags are then; or zero. Every image has a name afterwards, or the error says
// which has none.
func (x *Index) Rename(as Name) error {
	if as.Reference.IsDigest() {
		return fmt.Errorf("--as %s: the digest of an image is what it is; give it a tag", as)
	}
	if as.Reference.Tag != "" {
		different := func(i Image) bool { return i.Descriptor.Digest != x.Images[0].Descriptor.Digest }
		if len(x.Images) == 0 || slices.ContainsFunc(x.Images, different) {
			return fmt.Errorf("--as %s names one image, and there are %d: %s", as, len(x.Images), x.list())
		}
		x.Images = x.Images[:1]
		x.Images[0].Name = as
		return nil
	}
	var nameless []string
	for n := range x.Images {
		image := &x.Images[n]
		switch {
		case as.IsZero() && !image.Name.IsZero():
		case as.IsZero():
			nameless = append(nameless, image.String())
		case image.Name.Reference.Tag != "":
			image.Name.Upstream, image.Name.Repository = as.Upstream, as.Repository
		case oci.ValidTag(image.Label):
			image.Name = as
			image.Name.Reference.Tag = image.Label
		default:
			image.Name = as
			image.Name.Reference.Digest = image.Descriptor.Digest
		}
	}
	if len(nameless) > 0 {
		return fmt.Errorf("the layout does not tell which image %s is: name it with --as, such as --as docker.io/library/alpine:3.20, or --as docker.io/library/alpine for all tags of one repository",
			strings.Join(nameless[:min(len(nameless), 5)], ", "))
	}
	return x.unique()
}

// unique refuses two images of one name.
func (x *Index) unique() error {
	seen := make(map[Name]digest.Digest, len(x.Images))
	kept := x.Images[:0]
	for _, image := range x.Images {
		d, ok := seen[image.Name]
		if ok && d != image.Descriptor.Digest {
			return fmt.Errorf("two images have the name %s: %s and %s", image.Name, d, image.Descriptor.Digest)
		}
		if !ok {
			kept = append(kept, image)
		}
		seen[image.Name] = image.Descriptor.Digest
	}
	x.Images = kept
	return nil
}

func (x *Index) list() string {
	var names []string
	for _, image := range x.Images[:min(len(x.Images), 5)] {
		names = append(names, image.String())
	}
	if len(x.Images) > len(names) {
		names = append(names, "…")
	}
	return strings.Join(names, ", ")
}

// blobName returns the entry of a digest.
func blobName(d digest.Digest) string {
	return blobsName + "/" + d.Algorithm().String() + "/" + d.Encoded()
}

// digestOf returns the digest of an entry; empty if it is no blob.
func digestOf(name string) digest.Digest {
	rest, ok := strings.CutPrefix(name, blobsName+"/")
	if !ok {
		return ""
	}
	d, err := oci.ParseDigest(strings.Replace(rest, "/", ":", 1))
	if err != nil {
		return ""
	}
	return d
}

// readSmall reads an entry of a size that is no more than most.
func readSmall(name string, r io.Reader, size, most int64) ([]byte, error) {
	if size < 0 || size > most {
		return nil, damaged(name, digestOf(name), "it has %d bytes, %d are the most", size, most)
	}
	raw := make([]byte, size)
	if n, err := io.ReadFull(r, raw); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return nil, damaged(name, digestOf(name), "it has %d bytes of %d: %w", n, size, err)
	} else if err != nil {
		return nil, damaged(name, digestOf(name), "%w", err)
	}
	return raw, nil
}
