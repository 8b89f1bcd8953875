package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/life"
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

// Removed is what became of blobs that were to be removed.
type Removed struct {
	Blobs, Bytes int64 // that went
	Spared       []volume.ID
	Stuck        error // why others are still there
}

// Blobs are the bytes of blobs, and of those that are being filled.
type Blobs interface {
	// RemoveBlobs removes blobs, except those that are to be spared at the last moment.
	RemoveBlobs(ids []volume.ID, spare func(volume.ID) bool) (Removed, error)
	// RemoveParts removes what is suspended of a blob, unless it is being filled.
	RemoveParts(i volume.ID) error
	// InUse reports whether a blob is being read or filled.
	InUse(i volume.ID) bool
}

// Remover removes images, repositories and upstreams.
type Remover struct {
	Index    *index.Index
	Life     *life.Life
	Log      *slog.Logger
	Pins     *Pinning
	Contents Contents
	Blobs    Blobs
	// MakeRoom sees to it that what is removed can be written down.
	MakeRoom func()
	// Settle is called once something was removed.
	Settle func(context.Context)

	relinked relinked
}

// Linked notes that something is about to be linked: somebody wants it.
func (m *Remover) Linked(i volume.ID) { m.relinked.note(i) }

// Remove removes what is selected. See storage.Store.Remove.
func (m *Remover) Remove(ctx context.Context, o RemoveOptions) (RemoveReport, error) {
	end, err := m.Pins.Turn(ctx)
	if err != nil {
		return RemoveReport{}, fmt.Errorf("remove %s: %w", o.Selection, err)
	}
	defer end()
	r := &removal{Remover: m, RemoveOptions: o, again: m.relinked.begin()}
	defer m.relinked.end()
	err = m.Life.Task(ctx, func(ctx context.Context) error {
		err := r.run(ctx)
		if !o.DryRun && r.report != (RemoveReport{}) {
			m.Settle(ctx)
		}
		return err
	})
	if err != nil {
		err = fmt.Errorf("remove %s: %w", o.Selection, err)
	}
	if r.report != (RemoveReport{}) && !o.DryRun {
		m.Log.Info("removed what was asked for", "selection", o.Selection.String(), "tags", r.report.Tags,
			"manifests", r.report.Manifests, "blobs", r.report.Blobs, "bytes", r.report.Bytes)
	}
	return r.report, err
}

// removal is a Remove that runs.
type removal struct {
	*Remover
	RemoveOptions

	txn   *index.Txn
	again *relinked
	// parts are what goes, by the prefix of the keys of the links of a scope.
	parts map[string]*removalPart
	order []*removalPart
	tags  []index.Record
	// elsewhere are the ids, of those that matter, that are linked to what stays.
	elsewhere Set
	pins      Set
	done      Set // whose content was dealt with

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
	if !r.DryRun {
		r.MakeRoom()
	}
	// A link whose transaction runs is either noticed or seen.
	if err := r.Index.Update(0, func(*index.Batch) error { return nil }); err != nil && !errors.Is(err, volume.ErrNoSpace) {
		return err
	}
	var err error
	if r.txn, err = r.Index.Begin(); err != nil {
		return err
	}
	defer r.txn.Discard()
	r.done = Set{}
	for _, step := range []func(context.Context) error{r.plan, r.lookElsewhere, r.refusePinned, r.content, r.orphans, r.names} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lookElsewhere finds out what of the content others have.
func (r *removal) lookElsewhere(ctx context.Context) error {
	r.elsewhere = Set{}
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
			r.elsewhere.add(i)
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
		some := r.tags[:min(len(r.tags), batch)]
		r.tags = r.tags[len(some):]
		var n int64
		err := r.Index.Update(len(some)*index.LinkBytes, func(b *index.Batch) error {
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
		if err := r.Index.Update(index.LinkBytes, func(b *index.Batch) error { return b.Unname(p.scope) }); err != nil {
			return err
		}
	}
	return nil
}
