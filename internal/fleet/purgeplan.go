package fleet

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fleet/forest"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// purgePlan is what goes from the bucket with a selection.
type purgePlan struct {
	fleet *Fleet
	depot *depot
	sel   oci.Selection

	whole   bool            // the selection is an upstream or a repository
	there   map[string]bool // what the bucket has of the repository of an image
	keys    []string        // of an image
	digests []digest.Digest
	pins    []oci.Pin
	stored  int // how many of the pins lie in the store; they come first
	purged  Purged
	images  forest.Forest
}

// planPurge finds out what goes with a selection: of a whole upstream or repository all, of an
// image what no other tag of the repository needs, wherever that is. What is pinned is a
// *storage.PinnedError. Of what is stored here, the store itself knows that better.
func planPurge(ctx context.Context, f *Fleet, d *depot, sel oci.Selection) (*purgePlan, error) {
	p := &purgePlan{fleet: f, depot: d, sel: sel, whole: sel.Reference == (oci.Reference{})}
	p.images.Read = p.contents
	stored, err := f.local.Store.Pins(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range stored {
		p.pins = append(p.pins, one.Pin)
	}
	p.stored = len(p.pins)
	p.pins = append(p.pins, f.local.Store.Limits().Pins...)
	if p.whole {
		return p, p.each(ctx, p.count)
	}
	scopes, err := p.scopes(ctx)
	for _, s := range scopes {
		if err == nil {
			err = p.image(ctx, s)
		}
	}
	slices.Sort(p.digests)
	p.digests = slices.Compact(p.digests)
	for n, pin := range p.pins {
		if name := sel.Reference.Tag; err == nil && name != "" && pin.Match(oci.Scope{Upstream: sel.Upstream, Repository: sel.Repository}, name) {
			err = p.pinned(n, sel.String()) // though it may be nowhere but on other gateways
		}
		if err == nil && pin.Digest != "" && slices.Contains(p.digests, pin.Digest) {
			err = p.pinned(n, pin.Digest.String())
		}
	}
	return p, err
}

func (p *purgePlan) pinned(n int, image string) error {
	return &storage.PinnedError{Image: image, Pin: p.pins[n].String(), Stored: n < p.stored}
}

// count counts an object that goes.
func (p *purgePlan) count(scope oci.Scope, name, key string) error {
	switch {
	case strings.HasPrefix(key, proofsAt):
		p.purged.Proofs++
	case strings.HasPrefix(key, tagsAt):
		p.purged.Tags++
		for n, pin := range p.pins {
			if pin.Match(scope, name) {
				return p.pinned(n, scope.String()+":"+name)
			}
		}
	}
	return nil
}

// add has an object go, if it is there.
func (p *purgePlan) add(scope oci.Scope, name, key string) error {
	if !p.there[key] {
		return nil
	}
	p.keys = append(p.keys, key)
	return p.count(scope, name, key)
}

// each calls fn for what the bucket has of the upstream or repository that is selected.
func (p *purgePlan) each(ctx context.Context, fn func(scope oci.Scope, name, key string) error) error {
	for _, folder := range []string{tagsAt, proofsAt, referrerAt} {
		for _, end := range []string{"/", "~"} {
			within := folder + p.sel.Upstream + end
			if end == "/" && p.sel.Repository != "" {
				within += p.sel.Repository + "/_/"
			}
			for o, err := range p.depot.objects.List(ctx, within, "") {
				if err != nil {
					return err
				}
				scope, name, ok := scopeOf(o.Key, folder)
				if !ok || !p.sel.Has(scope) {
					continue
				}
				if err := fn(scope, name, o.Key); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// scopes returns the scopes of the repository that is selected, here and in the bucket.
func (p *purgePlan) scopes(ctx context.Context) ([]oci.Scope, error) {
	catalog, err := p.fleet.local.Catalog(ctx)
	if err != nil {
		return nil, err
	}
	identities, err := catalog.Identities(ctx, p.sel.Upstream)
	catalog.Close()
	if err != nil {
		return nil, err
	}
	found := map[oci.Scope]bool{}
	for _, identity := range identities {
		found[oci.Scope{Upstream: identity, Repository: p.sel.Repository}] = true
	}
	p.there = map[string]bool{}
	err = p.each(ctx, func(scope oci.Scope, _, key string) error {
		found[scope], p.there[key] = true, true
		return nil
	})
	return slices.Collect(maps.Keys(found)), err
}

// scopeOf reads a key of scopeKey.
func scopeOf(key, folder string) (scope oci.Scope, name string, ok bool) {
	within, name, ok := strings.Cut(strings.TrimPrefix(key, folder), "/_/")
	identity, repository, named := strings.Cut(within, "/")
	return oci.Scope{Upstream: strings.ReplaceAll(identity, "~", "#"), Repository: repository}, name, ok && named
}

// image adds what goes of one scope with an image: what it leads to, and no other tag does.
func (p *purgePlan) image(ctx context.Context, scope oci.Scope) error {
	tags, err := p.tags(ctx, scope)
	if err != nil {
		return err
	}
	ref := p.sel.Reference
	goes, stays := map[digest.Digest]bool{}, map[digest.Digest]bool{}
	if ref.IsDigest() {
		goes[ref.Digest] = true
	}
	for name, meanings := range tags {
		for _, d := range meanings {
			if name == ref.Tag || d == ref.Digest {
				goes[d] = true
			} else {
				stays[d] = true
			}
		}
		if name == ref.Tag || slices.Contains(meanings, ref.Digest) {
			if err := p.add(scope, name, tagKey(scope, name)); err != nil {
				return err
			}
		}
	}
	kept, err := p.images.Walk(ctx, stays)
	if err != nil {
		return err
	}
	all, err := p.images.Walk(ctx, goes)
	if err != nil {
		return err
	}
	for d := range all {
		// The digest itself goes though others need it.
		if kept[d] && d != ref.Digest {
			continue
		}
		p.digests = append(p.digests, d)
		for _, key := range []string{proofKey(scope, d), referrersKey(scope, d)} {
			if err := p.add(scope, d.String(), key); err != nil {
				return err
			}
		}
	}
	return nil
}

// tags returns what the tags of a scope mean: here, and in the bucket.
func (p *purgePlan) tags(ctx context.Context, scope oci.Scope) (map[string][]digest.Digest, error) {
	records := p.fleet.local.Records
	names, err := records.Tags(ctx, scope, "", -1)
	if err != nil {
		return nil, err
	}
	means := map[string][]digest.Digest{}
	for _, name := range names {
		if t, err := records.Tag(ctx, scope, name); err == nil {
			means[name] = append(means[name], t.Digest)
		}
	}
	for o, err := range p.depot.objects.List(ctx, scopeKey(tagsAt, scope), "") {
		if err != nil {
			return nil, err
		}
		name := path.Base(o.Key)
		if _, known := means[name]; known && name != p.sel.Reference.Tag {
			continue
		}
		var t sharedTag
		if _, err := (writer{depot: p.depot, fleet: p.fleet}).read(ctx, o.Key, &t); err != nil {
			return nil, err
		}
		if _, err := oci.ParseDigest(t.Digest.String()); err == nil {
			means[name] = append(means[name], t.Digest)
		}
	}
	return means, nil
}

// contents reads a manifest, from here or from the bucket. One that is nowhere, or cannot
// be read, leads nowhere.
func (p *purgePlan) contents(ctx context.Context, d digest.Digest) (none oci.Contents, err error) {
	if mf, err := p.fleet.local.Records.Manifest(ctx, d); err == nil {
		_, contents, _ := oci.DecodeManifest(mf.MediaType, mf.Bytes)
		return contents, nil
	}
	return p.depot.contents(ctx, d)
}
