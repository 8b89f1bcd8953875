package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// errNothing is an fs.ErrNotExist that says so in other words.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string        { return "nothing of it is stored" }
func (nothing) Is(target error) bool { return target == fs.ErrNotExist }

// RemoveOptions say what to remove.
type RemoveOptions struct {
	// Selection names it; one of nothing at all is refused.
	Selection oci.Selection
	// DryRun removes nothing, and tells what would go.
	DryRun bool
	// Progress, if not nil, is called after each step. The removal waits for it.
	Progress func(RemoveReport)
}

// RemoveReport is what was removed.
type RemoveReport struct {
	Tags      int64 `json:"tags"`
	Manifests int64 `json:"manifests"`
	// Blobs and Bytes are what no other repository has, and was freed.
	Blobs int64 `json:"blobs"`
	Bytes int64 `json:"bytes"`
	// Shared counts the blobs and manifests that stay, as others have them, too.
	Shared int64 `json:"shared"`
	// InUse counts those that stay as they were being read, filled or pulled again
	// meanwhile, or as a pinned image of elsewhere needs them. They still belong to
	// their repository, and go with that.
	InUse int64 `json:"in_use"`
}

// PinnedError is the answer of Remove to what is pinned.
type PinnedError struct {
	// Image is what is pinned, Pin the pattern that means it.
	Image, Pin string
	// Stored says that Unpin drops it; else it is one of the Limits.
	Stored bool
}

func (e *PinnedError) Error() string { return e.Image + " is pinned by " + e.Pin }

// Remove removes tags, and what is only there for them, at once and whatever the
// limits:
//
//   - Of a tag: the tag, and those manifests and blobs below it, or referring to it,
//     that no other tag and no other manifest of the repository needs. A manifest
//     that was pulled by digest is one of these.
//   - Of a digest: that, the tags that point to it, and what is below or refers to it,
//     as above. The digest itself goes though others need it.
//   - Of a repository, and of an upstream: everything.
//
// Bytes are shared between repositories, so a manifest or blob goes from the disk if
// no other repository has a link to it; else only this one's link goes. With an
// upstream, blobs that it brought in and that no repository has any more go, too.
//
// What is pinned is a *PinnedError, and nothing is removed; blobs that a pinned image
// of elsewhere needs stay. Nothing is taken from who reads, fills or pulls it
// meanwhile. fs.ErrNotExist if there is nothing of the selection. The store works on,
// and one removal waits for another.
//
// Content goes first, links to it next, and tags and names last. So whatever cuts it
// short, the store is sound: what is left points to less content, which is a miss,
// and to remove the same again removes the rest.
func (s *Store) Remove(ctx context.Context, o RemoveOptions) (RemoveReport, error) {
	if err := s.pinTurn(ctx); err != nil {
		return RemoveReport{}, fmt.Errorf("remove %s: %w", o.Selection, err)
	}
	defer func() { <-s.pinning }()
	r := &removal{RemoveOptions: o, s: s, again: s.relinked.begin()}
	defer s.relinked.end()
	err := s.life.Task(ctx, func(ctx context.Context) error {
		err := r.run(ctx)
		if !o.DryRun && r.report != (RemoveReport{}) {
			s.replaceSnapshots(ctx)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("remove %s: %w", o.Selection, err)
	}
	if r.report != (RemoveReport{}) && !o.DryRun {
		s.space.Forget()
		s.log.Info("removed what was asked for", "selection", o.Selection.String(), "tags", r.report.Tags,
			"manifests", r.report.Manifests, "blobs", r.report.Blobs, "bytes", r.report.Bytes)
	}
	return r.report, err
}

// removal is a Remove that runs.
type removal struct {
	RemoveOptions

	s     *Store
	txn   *index.Txn
	again *relinked
	// parts are what goes, by the prefix of the keys of the links of a scope.
	parts map[string]*removalPart
	order []*removalPart
	tags  []index.Record
	// elsewhere are the ids, of those that matter, that are linked to what stays.
	elsewhere pinned
	pins      pinned
	done      pinned // whose content was dealt with

	report RemoveReport
}

// removalPart is what goes of one scope.
type removalPart struct {
	scope oci.Scope
	ids   map[volume.ID]int // and in which pass each goes; nil = all, in any order
	tags  map[string]struct{}
}

func (p *removalPart) has(i volume.ID) bool {
	if p.ids == nil {
		return true
	}
	_, ok := p.ids[i]
	return ok
}

func (r *removal) run(ctx context.Context) error {
	if r.Selection.Upstream == "" {
		return errors.New("nothing is named")
	}
	if r.s.space.CheckReserve() != nil && !r.DryRun {
		// What is removed has to be written down.
		if err := r.s.ballast.Drop(); err != nil {
			r.s.log.Warn("remove", "error", err)
		}
	}
	// A link whose transaction runs is either noticed or seen.
	if err := r.s.index.Update(0, func(*index.Batch) error { return nil }); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	var err error
	if r.txn, err = r.s.index.Begin(); err != nil {
		return err
	}
	defer r.txn.Discard()
	r.done = pinned{}
	for _, step := range []func(context.Context) error{r.plan, r.lookElsewhere, r.refusePinned, r.content, r.orphans, r.names} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lookElsewhere finds out what of the content others have.
func (r *removal) lookElsewhere(ctx context.Context) error {
	r.elsewhere = pinned{}
	var some map[volume.ID]struct{} // what matters; nil = everything
	for n, p := range r.order {
		if p.ids == nil {
			some = nil
			break
		}
		if n == 0 {
			some = make(map[volume.ID]struct{})
		}
		for i := range p.ids {
			some[i] = struct{}{}
		}
	}
	return r.txn.Keys(ctx, []byte{index.TableLink}, func(it *index.Iterator) error {
		key := it.Key()
		i, ok := index.ScopedID(key)
		if !ok {
			return nil
		}
		if p := r.parts[string(key[:1+index.ScopeLength])]; p != nil && p.has(i) {
			return nil
		}
		if _, ok := some[i]; ok || some == nil {
			r.elsewhere[pinOf(i)] = struct{}{}
		}
		return nil
	})
}

// names removes the tags, unless they were confirmed meanwhile, and the names of
// scopes that are empty.
func (r *removal) names(ctx context.Context) error {
	if r.DryRun {
		r.report.Tags = int64(len(r.tags))
		return nil
	}
	for len(r.tags) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := r.tags[:min(len(r.tags), evictBatch)]
		r.tags = r.tags[len(some):]
		var n int64
		err := r.s.index.Update(len(some)*index.LinkBytes, func(b *index.Batch) error {
			n = 0
			for _, t := range some {
				if now, err := b.Get(t.Key); errors.Is(err, fs.ErrNotExist) || err == nil && !bytes.Equal(now, t.Value) {
					continue
				}
				if err := b.Delete(t.Key); err != nil {
					return err
				}
				n++
			}
			return nil
		})
		if r.report.Tags += n; err != nil {
			return err
		}
	}
	for _, p := range r.order {
		if err := r.s.index.Update(index.LinkBytes, func(b *index.Batch) error { return b.Unname(p.scope) }); err != nil {
			return err
		}
	}
	return nil
}
