package storage

import (
	"context"

	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What is removed by name; see Store.Remove.
type (
	// RemoveOptions say what to remove.
	RemoveOptions = images.RemoveOptions
	// RemoveReport is what was removed.
	RemoveReport = images.RemoveReport
	// PinnedError is the answer of Remove to what is pinned.
	PinnedError = images.PinnedError
)

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
	return s.removal.Remove(ctx, o)
}

// makeRoomToRemove gives the ballast back where what is removed could not be written
// down.
func (s *Store) makeRoomToRemove() {
	if s.home.space.CheckReserve() == nil {
		return
	}
	if err := s.home.ballast.Drop(); err != nil {
		s.log.Warn("remove", "error", err)
	}
}

// settleRemoval sees to it that nothing brings back what was removed.
func (s *Store) settleRemoval(ctx context.Context) {
	s.home.space.Forget()
	if s.keeper.quiet {
		s.keeper.snapshots.Outdate() // and its end writes the next one
		return
	}
	s.keeper.snapshots.Replace(ctx)
}

// removable is the content of a store, for images to be removed.
type removable struct {
	remover *eviction.Remover
	parts   *parts
	opened  *opened
}

// RemoveBlobs implements images.Blobs.
func (r removable) RemoveBlobs(ids []volume.ID, spare func(volume.ID) bool) (images.Removed, error) {
	return r.remover.Remove(ids, spare)
}

// RemoveParts implements images.Blobs.
func (r removable) RemoveParts(i volume.ID) error {
	return r.parts.unlessRunning(i, func() error { return r.parts.remove(i.PartName()) })
}

// InUse implements images.Blobs.
func (r removable) InUse(i volume.ID) bool { return r.opened.has(i) || r.parts.has(i) }
