package images

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// images takes the scopes of one repository image by image: first those with tags,
// then those that no tag and no other manifest leads to.
func (v *inventory) images(ctx context.Context, scopes []oci.Scope) error {
	for _, scope := range scopes {
		t, err := readTree(ctx, v.contents, v.txn, scope)
		if err != nil {
			return err
		}
		name := oci.UpstreamName(scope.Upstream) + "/" + scope.Repository
		err = v.txn.ScopeTags(ctx, scope, func(tag string, _, value []byte) error {
			known, ok := index.DecodeTag(value)
			i, err := volume.IDOf(known.Digest)
			if !ok || err != nil {
				return nil //nolint:nilerr // it is no tag to anybody
			}
			image := &HeldImage{Tag: tag, Digest: known.Digest, MediaType: known.MediaType, Checked: timeOf(known.Checked), Changed: timeOf(known.Changed)}
			v.image(t, i, name+":"+tag, image)
			return nil
		})
		if err != nil {
			return err
		}
		for i, contents := range t.contents {
			if len(contents.Manifests) > 0 {
				v.lead(t, i)
			}
		}
		for i := range t.contents {
			if _, led := t.live[i]; led {
				continue
			}
			image := &HeldImage{Digest: i.Digest()}
			if r, ok := index.Load(v.txn, index.TableKey(index.TableManifest, i), index.DecodeManifest); ok {
				image.MediaType = r.MediaType
			}
			v.image(t, i, name+"@"+i.Digest().String(), image)
		}
	}
	slices.SortFunc(v.Holdings, func(a, b Holding) int { return cmp.Compare(a.Name, b.Name) })
	for _, scope := range scopes {
		// What is linked without an image leading to it is the repository's all the
		// same.
		if err := v.take(ctx, scope, nil); err != nil {
			return err
		}
	}
	return nil
}

// lead notes what an index leads to.
func (v *inventory) lead(t *tree, i volume.ID) {
	for _, d := range t.contents[i].Manifests {
		if child, err := volume.IDOf(d.Digest); err == nil && child != i {
			t.live[child] = struct{}{}
		}
	}
}

// image takes an image.
func (v *inventory) image(t *tree, root volume.ID, name string, image *HeldImage) {
	v.Holdings = append(v.Holdings, Holding{Name: name, Image: image})
	h := &v.Holdings[len(v.Holdings)-1]
	seen := make(map[volume.ID]struct{})
	for todo := []volume.ID{root}; len(todo) > 0; {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if _, ok := seen[i]; ok {
			continue
		}
		seen[i] = struct{}{}
		v.hold(i, h)
		contents, ok := t.contents[i]
		if !ok {
			continue
		}
		t.live[i] = struct{}{}
		h.Manifests++
		at := v.used(i)
		if used, ok := index.Load(v.txn, index.TableKey(index.TableManifestUse, i), index.DecodeUse); ok && at.IsZero() {
			at = used.End().Add(-time.Hour)
		}
		if !at.IsZero() && (image.Used == nil || image.Used.Before(at)) {
			image.Used = &at
		}
		for _, d := range contents.Blobs {
			if v.lacks(d.Digest) {
				image.Absent++
			}
		}
		todo = append(todo, t.below(i)...)
	}
}

// lacks reports that a blob is not here.
func (v *inventory) lacks(d digest.Digest) bool {
	i, err := volume.IDOf(d)
	return err == nil && v.blobs[keyOf(i)] == nil
}

func timeOf(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
