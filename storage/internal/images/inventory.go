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

// Inventory is what a store holds, part by part.
type Inventory struct {
	// Selection is what was asked for; empty = everything.
	Selection string `json:"selection,omitempty"`
	// Holdings are the upstreams, or the repositories of one, or the images of one
	// repository, in order of their names.
	Holdings []Holding `json:"holdings"`
	// Blobs and Bytes are all blobs of the store. Those that are Unlinked belong to
	// no repository any more.
	Blobs         int64 `json:"blobs"`
	Bytes         int64 `json:"bytes"`
	UnlinkedBlobs int64 `json:"unlinked_blobs"`
	UnlinkedBytes int64 `json:"unlinked_bytes"`
	// Origins are the bytes of all blobs by the upstream that brought them in.
	Origins map[string]int64 `json:"-"`
	// Disk is what the files of the store take; nil = it was not asked for.
	Disk *volume.DiskUse `json:"disk,omitempty"`
}

// Holding is one part of an Inventory. Sizes are of blobs: manifests lie in the
// index, and take little.
type Holding struct {
	// Name is that of an upstream, of a repository with its upstream, or of an image:
	// with its tag, or with its digest if it has none.
	Name string `json:"name"`
	// Repositories are counted for upstreams, Tags for these and repositories.
	Repositories int64 `json:"repositories,omitempty"`
	Tags         int64 `json:"tags,omitempty"`
	Manifests    int64 `json:"manifests"`
	Blobs        int64 `json:"blobs"`
	Bytes        int64 `json:"bytes"`
	// OwnBytes are those of blobs that no other holding has, nor anything beyond the
	// selection: what its removal would free.
	OwnBytes int64 `json:"own_bytes"`

	// Identities are those that the store has an upstream under, except its name.
	Identities []string `json:"identities,omitempty"`

	// Image is set for images only.
	Image *HeldImage `json:"image,omitempty"`
}

// HeldImage is what is known of an image.
type HeldImage struct {
	Tag       string        `json:"tag,omitempty"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"media_type,omitempty"`
	// Absent are the blobs that are named by manifests which are here, and are not
	// here themselves. Platforms that nobody pulled have no manifest here.
	Absent int64 `json:"absent"`
	// Checked and Changed are those of the tag. Used is when a client last got one of
	// its manifests, to the minute if this process has seen it, else to the hour. nil =
	// unknown.
	Checked *time.Time `json:"checked,omitempty"`
	Changed *time.Time `json:"changed,omitempty"`
	Used    *time.Time `json:"used,omitempty"`
}

// Take returns what there is of a selection, as of one moment. It takes some 50
// bytes of memory for each blob of the store. fs.ErrNotExist if there is nothing, and
// the store is not merely empty. used returns when a manifest was used, if that is known
// better than the index knows it.
func Take(ctx context.Context, txn *index.Txn, contents Contents, sel oci.Selection, used func(volume.ID) time.Time) (Inventory, error) {
	v := &inventory{txn: txn, contents: contents, used: used, blobs: make(map[uint64]*heldBlob)}
	if err := v.run(ctx, sel); err != nil {
		return Inventory{}, err
	}
	return v.Inventory, nil
}

// inventory is an Inventory that is taken.
type inventory struct {
	Inventory

	txn      *index.Txn
	contents Contents
	used     func(volume.ID) time.Time
	blobs    map[uint64]*heldBlob
}

// heldBlob is a blob, and who has it.
type heldBlob struct {
	size   int64
	last   int // the holding that had it last, counted from 1; 0 = none
	shared bool
}

func (v *inventory) run(ctx context.Context, sel oci.Selection) (err error) {
	v.Selection, v.Holdings = sel.String(), []Holding{}
	var all volume.Tally
	err = v.txn.Blobs(ctx, func(i volume.ID, r index.Blob, _ index.Use) error {
		v.blobs[keyOf(i)] = &heldBlob{size: r.Size}
		all.Add(r.Origin, r.Size, 1)
		return nil
	})
	if err != nil {
		return err
	}
	v.Blobs, v.Bytes, v.Origins = all.Blobs, all.Bytes, all.Upstreams
	scopes, err := v.txn.Scopes(ctx, oci.Selection{})
	if err != nil {
		return err
	}
	slices.SortFunc(scopes, func(a, b oci.Scope) int {
		return cmp.Or(cmp.Compare(oci.UpstreamName(a.Upstream), oci.UpstreamName(b.Upstream)),
			cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Upstream, b.Upstream))
	})
	var within []oci.Scope
	for _, scope := range scopes {
		if sel.Has(scope) {
			within = append(within, scope)
		} else if err := v.take(ctx, scope, nil); err != nil {
			return err
		}
	}
	if len(within) == 0 && sel.Upstream != "" {
		return errNothing
	}
	if sel.Repository != "" {
		err = v.images(ctx, within)
	} else {
		err = v.groups(ctx, within, sel.Upstream != "")
	}
	for _, b := range v.blobs {
		if b.last == 0 && !b.shared {
			v.UnlinkedBlobs, v.UnlinkedBytes = v.UnlinkedBlobs+1, v.UnlinkedBytes+b.size
		}
	}
	return err
}

// groups takes scopes upstream by upstream, or repository by repository.
func (v *inventory) groups(ctx context.Context, scopes []oci.Scope, repositories bool) error {
	var last string
	for _, scope := range scopes {
		name := oci.UpstreamName(scope.Upstream)
		repository := name + "/" + scope.Repository
		if repositories {
			name = repository
		}
		if n := len(v.Holdings); n == 0 || v.Holdings[n-1].Name != name {
			v.Holdings = append(v.Holdings, Holding{Name: name})
		}
		h := &v.Holdings[len(v.Holdings)-1]
		if !repositories && repository != last {
			h.Repositories++
			last = repository
		}
		if !repositories && scope.Upstream != name && !slices.Contains(h.Identities, scope.Upstream) {
			h.Identities = append(h.Identities, scope.Upstream)
		}
		err := v.txn.ScopeTags(ctx, scope, func(string, []byte, []byte) error { h.Tags++; return nil })
		if err == nil {
			err = v.take(ctx, scope, h)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// take makes what is linked to a scope that of the last holding; nil = of what is
// beyond the selection.
func (v *inventory) take(ctx context.Context, scope oci.Scope, h *Holding) error {
	return v.txn.Keys(ctx, index.ScopedPrefix(index.TableLink, scope), func(it *index.Iterator) error {
		key := it.Key()
		i, ok := index.ScopedID(key)
		if !ok {
			return nil
		}
		v.hold(i, h)
		if h == nil {
			return nil
		}
		if v.txn.Has(index.TableKey(index.TableManifest, i)) {
			h.Manifests++
		}
		return nil
	})
}

// hold counts a blob for the last holding, if it is one and was not counted yet.
func (v *inventory) hold(i volume.ID, h *Holding) {
	b, n := v.blobs[keyOf(i)], len(v.Holdings)
	switch {
	case b == nil:
		return
	case h == nil:
		b.shared = true
		return
	case b.last == n:
		return
	case b.last == 0 && !b.shared:
		h.OwnBytes += b.size
	case !b.shared:
		v.Holdings[b.last-1].OwnBytes -= b.size
		b.shared = true
	}
	b.last = n
	h.Blobs, h.Bytes = h.Blobs+1, h.Bytes+b.size
}
