package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Part begins the part file of a blob of the given size, -1 = unknown, or
// reopens the one that was suspended. The blob will count to the upstream of the
// scope, unless it is there already. Only what that upstream has sent is gone on from.
// Until the part is ended, another of the upstream for the same digest is fs.ErrExist;
// those of other upstreams lie beside it. It is ErrNoSpace if the blob does not fit, whatever went, and
// ErrGone if the directory was removed: it can be served, but not be kept. Nothing is
// evicted for it before its first byte is written.
func (b *Blobs) Part(ctx context.Context, scope oci.Scope, d digest.Digest, size int64) (*Part, error) {
	if err := b.life.Enter(ctx); err != nil {
		return nil, fmt.Errorf("begin part of %s: %w", d, err)
	}
	defer b.life.Leave()
	i, err := volume.IDOf(d)
	if err != nil {
		return nil, fmt.Errorf("begin part: %w", err)
	}
	p, err := b.parts.begin(scope, i, size)
	if err != nil {
		return nil, fmt.Errorf("begin part of %s: %w", d, err)
	}
	return p, nil
}

// Suspended reports whether a part of the digest is suspended that the upstream of the
// scope has begun to send, and of what size, -1 = unknown.
func (b *Blobs) Suspended(ctx context.Context, scope oci.Scope, d digest.Digest) (size int64, ok bool) {
	i, err := volume.IDOf(d)
	if err != nil || b.life.Enter(ctx) != nil {
		return -1, false
	}
	defer b.life.Leave()
	for _, name := range []volume.PartName{i.PartName(), i.PartNameOf(scope.Upstream)} {
		if c, err := b.parts.suspended(name, -1); err == nil && c.Origin == scope.Upstream {
			return c.Size, true
		}
	}
	return -1, false
}

// readBlob returns the content of a blob.
func (b *Blobs) readBlob(ctx context.Context, i volume.ID) ([]byte, error) {
	f, size, err := b.open(ctx, i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content := make([]byte, size)
	_, err = io.ReadFull(f, content)
	return content, err
}

// writeBlob stores bytes that were verified as a blob.
func (b *Blobs) writeBlob(scope oci.Scope, i volume.ID, content []byte) error {
	size := int64(len(content))
	p, err := b.parts.begin(scope, i, size)
	if err != nil {
		return err
	}
	defer p.file.Close()
	if _, err := p.WriteAt(content, 0); err != nil {
		return errors.Join(err, p.end(p.remove))
	}
	return p.end(func() error { return p.commit(size) })
}

// quarantine takes a blob out of use that is not what its name says.
func (b *Blobs) quarantine(i volume.ID, found fs.FileInfo, reason error) bool {
	return b.judge.Quarantine(i, found, reason)
}
