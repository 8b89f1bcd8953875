package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxParts is how many manifests are looked at of one image.
	maxParts = 4096
	// maxBlobs is how many blobs these may name together.
	maxBlobs = 1 << 16
	// MaxDepth is how deep indexes may lie in each other.
	MaxDepth = 4
)

// Source is where the parts of one repository are read.
type Source interface {
	// Manifest returns a manifest, its digest verified. fs.ErrNotExist and what
	// oci.IsNotFound reports mean that there is none.
	Manifest(ctx context.Context, ref oci.Reference) (oci.Manifest, error)
	// Config returns the bytes of a config.
	Config(ctx context.Context, d oci.Descriptor) ([]byte, error)
	// Referrers returns what refers to a digest.
	Referrers(ctx context.Context, d digest.Digest) ([]oci.Descriptor, error)
}

// Choice says what of an image counts; see the package comment. The zero value is
// all of it, but referrers.
type Choice struct {
	Platforms []Platform
	Referrers bool
}

// Walk tells visit the parts of an image, one after the other, an index before what
// it names. What cannot be read is a part with an error, and the walk goes on. It
// ends with the first error of visit, and with ctx.
func Walk(ctx context.Context, src Source, ref oci.Reference, c Choice, visit func(Part) error) error {
	w := walk{src: src, choice: c, visit: visit, seen: map[digest.Digest]bool{}, met: make([]bool, len(c.Platforms))}
	err := w.root(ctx, ref)
	for i, met := range w.met {
		if !met && !w.unsure && err == nil {
			err = visit(Part{Kind: KindPlatform, Platform: c.Platforms[i].String(), Others: w.others})
		}
	}
	return err
}

type walk struct {
	src    Source
	choice Choice
	visit  func(Part) error
	seen   map[digest.Digest]bool
	met    []bool // the chosen platforms that were found
	others []string
	blobs  int  // that were visited
	unsure bool // something was found whose platform is not known
}

func (w *walk) root(ctx context.Context, ref oci.Reference) error {
	mf, err := w.src.Manifest(ctx, ref)
	if err != nil {
		w.unsure = true
		return w.tell(ctx, Part{Kind: KindManifest, Manifest: oci.Descriptor{Digest: ref.Digest}, Err: err})
	}
	return w.manifest(ctx, mf, Part{Kind: KindManifest}, 0)
}

// tell visits a part.
func (w *walk) tell(ctx context.Context, p Part) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.blobs += len(p.Blobs); w.blobs > maxBlobs {
		return fmt.Errorf("image has more than %d blobs", maxBlobs)
	}
	return w.visit(p)
}

// manifest visits a manifest and what belongs to it.
func (w *walk) manifest(ctx context.Context, mf oci.Manifest, p Part, depth int) error {
	p.Manifest = mf.Descriptor()
	w.seen[mf.Digest] = true
	contents, err := oci.ParseManifest(mf.Bytes)
	if err == nil && depth > MaxDepth {
		err = errors.New("it lies too deep")
	}
	if err != nil {
		p.Err = err
		return w.tell(ctx, p)
	}
	children, blobs := contents.Children()
	if len(children) > 0 && p.Kind == KindManifest {
		p.Kind = KindIndex
	}
	var others bool
	p.Blobs, others = w.wanted(blobs)
	if depth == 0 && p.Kind == KindManifest && (others && len(p.Blobs) == 0 || !w.single(ctx, &p)) {
		return nil
	}
	if err := w.tell(ctx, p); err != nil {
		return err
	}
	for _, d := range children {
		if err := w.child(ctx, d, depth+1); err != nil {
			return err
		}
	}
	if w.choice.Referrers && p.Kind != KindReferrer && p.Kind != KindAttestation {
		return w.referrers(ctx, mf.Digest, depth+1)
	}
	return nil
}

// wanted returns the blobs that count. Those that an index lists can have a platform:
// others reports whether some are left out for that.
func (w *walk) wanted(blobs []oci.Descriptor) (wanted []oci.Descriptor, others bool) {
	for _, d := range blobs {
		of, ok := platformOf(d.Platform)
		switch {
		case Foreign(d):
		case ok && !w.choose(of):
			others = true
		default:
			wanted = append(wanted, d)
		}
	}
	return wanted, others
}

// single finds out the platform of an image that has one only, where it matters. It
// reports whether the image counts.
func (w *walk) single(ctx context.Context, p *Part) bool {
	if len(w.choice.Platforms) == 0 {
		return true
	}
	i := slices.IndexFunc(p.Blobs, func(d oci.Descriptor) bool { return configTypes[d.MediaType] })
	if i >= 0 {
		raw, err := w.src.Config(ctx, p.Blobs[i])
		var config ocispec.Platform
		if err == nil && json.Unmarshal(raw, &config) == nil {
			if of, ok := platformOf(&config); ok {
				p.Platform = of.String()
				return w.choose(of)
			}
		}
	}
	// It is no image, or its config shows as missing.
	w.unsure = true
	return true
}

// choose reports whether a platform is one of those that were chosen, and notes
// that the image has it.
func (w *walk) choose(of Platform) bool {
	chosen := len(w.choice.Platforms) == 0
	for i, p := range w.choice.Platforms {
		if p.matches(of) {
			chosen, w.met[i] = true, true
		}
	}
	if name := of.String(); !slices.Contains(w.others, name) && of != unknown {
		w.others = append(w.others, name)
	}
	return chosen
}

// child visits what an index names, if it counts.
func (w *walk) child(ctx context.Context, d oci.Descriptor, depth int) error {
	p := Part{Kind: KindManifest, Manifest: d}
	of, ok := platformOf(d.Platform)
	switch {
	case attestation(d):
		p.Kind = KindAttestation
		if len(w.choice.Platforms) > 0 && !w.choice.Referrers {
			return nil
		}
	case ok:
		p.Platform = of.String()
		if !w.choose(of) {
			return nil
		}
	case d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != oci.MediaTypeDockerManifestList:
		w.unsure = true // clients take it for one of theirs
	}
	return w.get(ctx, p, depth)
}

// get gets a manifest by its digest, and visits it.
func (w *walk) get(ctx context.Context, p Part, depth int) error {
	d := p.Manifest.Digest
	if w.seen[d] {
		return nil
	}
	if len(w.seen) >= maxParts {
		return fmt.Errorf("image has more than %d manifests", maxParts)
	}
	w.seen[d] = true
	mf, err := w.src.Manifest(ctx, oci.Reference{Digest: d})
	if err != nil {
		p.Err = err
		return w.tell(ctx, p)
	}
	return w.manifest(ctx, mf, p, depth)
}

// referrers visits what refers to a manifest.
func (w *walk) referrers(ctx context.Context, d digest.Digest, depth int) error {
	found, err := w.src.Referrers(ctx, d)
	if err := w.tell(ctx, Part{Kind: KindReferrers, Manifest: oci.Descriptor{Digest: d}, Err: err}); err != nil {
		return err
	}
	for _, r := range found {
		if err := w.get(ctx, Part{Kind: KindReferrer, Manifest: r}, depth); err != nil {
			return err
		}
	}
	for _, suffix := range []string{".sig", ".att", ".sbom"} {
		mf, err := w.src.Manifest(ctx, oci.Reference{Tag: oci.ReferrersTag(d) + suffix})
		if errors.Is(err, fs.ErrNotExist) || oci.IsNotFound(err) || err == nil && w.seen[mf.Digest] {
			continue
		}
		p := Part{Kind: KindReferrer, Manifest: mf.Descriptor(), Err: err}
		if err != nil {
			p.Manifest = oci.Descriptor{}
			err = w.tell(ctx, p)
		} else {
			err = w.manifest(ctx, mf, p, depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
