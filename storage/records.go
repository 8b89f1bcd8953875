package storage

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/eviction"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/life"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Records are what a store knows beside the bytes of blobs: tags, manifests, links,
// origins and referrers. They are small, and may be slow to write. Its methods are safe
// for concurrent use, and return ErrClosed after the store's Close, ErrNoIndex while the
// index is not open, and ErrStalled where it takes no writes.
type Records struct {
	life  *life.Life
	index *index.Index
	log   *slog.Logger
	now   func() time.Time
	large largeManifests
	uses  *eviction.UseLog
	full  func() // called when there are so many uses that they should be written down
}

// largeManifests are those that are too long for the index, and lie among the blobs.
type largeManifests interface {
	readBlob(ctx context.Context, i volume.ID) ([]byte, error)
	writeBlob(scope oci.Scope, i volume.ID, content []byte) error
	quarantine(i volume.ID, found fs.FileInfo, reason error) bool
}

// read returns a copy of a record, as a call.
func (r *Records) read(ctx context.Context, key []byte) (raw []byte, err error) {
	err = r.life.Within(ctx, func() (err error) {
		raw, err = r.index.Get(key)
		return err
	})
	return raw, err
}

// write makes a change of about the given size, as a call.
func (r *Records) write(ctx context.Context, bytes int, apply func(*index.Batch) error) error {
	return r.life.Within(ctx, func() error { return r.index.Offer(ctx, bytes, apply) })
}
