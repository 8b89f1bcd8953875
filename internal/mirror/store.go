package mirror

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// Records are what a Cache knows of tags, manifests and links. They are small, and may
// be slow. What is absent is fs.ErrNotExist; see storage.Store for each method.
type Records interface {
	Tag(ctx context.Context, scope oci.Scope, tag string) (storage.Tag, error)
	PutTag(ctx context.Context, scope oci.Scope, tag string, t storage.Tag) error
	DeleteTag(ctx context.Context, scope oci.Scope, tag string) error
	Tags(ctx context.Context, scope oci.Scope, after string, n int) ([]string, error)
	// Pinned reports whether a tag is that of an image that is pinned.
	Pinned(ctx context.Context, scope oci.Scope, tag string) (bool, error)

	Manifest(ctx context.Context, d digest.Digest) (oci.Manifest, error)
	PutManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error
	PutOpenManifest(ctx context.Context, scope oci.Scope, m oci.Manifest, children []oci.Descriptor) error
	// UseManifest notes that a client has got a manifest. It never blocks.
	UseManifest(d digest.Digest)

	Linked(ctx context.Context, scope oci.Scope, d digest.Digest) (storage.Link, error)
	Origins(ctx context.Context, scope oci.Scope, d digest.Digest) (storage.Origins, error)
	Link(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error
	LinkOpen(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error
	Claim(ctx context.Context, scope oci.Scope, ds ...oci.Descriptor) error
	Resize(ctx context.Context, scope oci.Scope, d oci.Descriptor) error
	Refute(ctx context.Context, scope oci.Scope, d digest.Digest) error

	Referrers(ctx context.Context, scope oci.Scope, d digest.Digest) (storage.Referrers, error)
	PutReferrers(ctx context.Context, scope oci.Scope, d digest.Digest, r storage.Referrers) error
}

// Blobs are the finished blobs, and the parts of those that are being filled. They are
// of this machine. What is absent is fs.ErrNotExist; see storage.Store for each method.
type Blobs interface {
	ServeBlob(ctx context.Context, d digest.Digest) (storage.Served, int64, error)
	HasBlob(ctx context.Context, d digest.Digest) (trusted bool, err error)
	StatBlob(ctx context.Context, d digest.Digest) (int64, error)
	BlobSize(ctx context.Context, d digest.Digest) (int64, error)
	VerifyBlob(ctx context.Context, d digest.Digest) error
	// Suspended reports whether a part of the digest is suspended that the upstream of
	// the scope has begun to send, and of what size, -1 = unknown.
	Suspended(ctx context.Context, scope oci.Scope, d digest.Digest) (size int64, ok bool)
	// Begin begins a part, or goes on with one that is suspended.
	Begin(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error)
}

// BlobsOf returns the blobs of a store.
func BlobsOf(s *storage.Store) Blobs { return storeBlobs{s} }

type storeBlobs struct{ *storage.Store }

// Begin implements Blobs.
func (b storeBlobs) Begin(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
	p, err := b.Part(ctx, scope, d, size)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// lenientStore is the store as a Cache uses it: one that fails counts as one that lacks what
// it is asked for, and the log tells.
type lenientStore struct {
	Records
	Blobs

	log     *slog.Logger
	now     func() time.Time
	noIndex atomic.Int64 // when it was last said that the store has no index
}

// proven returns a manifest that is stored, if its link says that it is proven.
func (s *lenientStore) proven(ctx context.Context, scope oci.Scope, d digest.Digest, link storage.Link) (oci.Manifest, bool) {
	if !link.Proven {
		return oci.Manifest{}, false
	}
	m, err := s.Manifest(ctx, d)
	s.readFailed("read manifest", scope, d.String(), err)
	return m, err == nil
}

func (s *lenientStore) readFailed(operation string, scope oci.Scope, object string, err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.failed("store cannot be read", err, "operation", operation, "scope", scope.String(), "object", object)
	}
}

// failed warns of a failing store. That it has no index is true of every request until
// it has one, and is said once a second. That a context has ended is no failure.
func (s *lenientStore) failed(message string, err error, about ...any) {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return
	case errors.Is(err, storage.ErrNoIndex), errors.Is(err, storage.ErrStalled):
		now, last := s.now().UnixNano(), s.noIndex.Load()
		if oci.Within(time.Duration(now-last), time.Second) || !s.noIndex.CompareAndSwap(last, now) {
			return
		}
	}
	s.log.Warn(message, append(about, "error", err)...)
}
