package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// openBlob opens a finished blob whose size agrees with the link.
func (v view) openBlob(ctx context.Context, d digest.Digest, link *storage.Link) (oci.Blob, error) {
	served, size, err := v.store.ServeBlob(ctx, d)
	if err != nil {
		return oci.Blob{}, err
	}
	if err := v.agree(ctx, d, link, size); err != nil {
		return oci.Blob{}, errors.Join(err, served.Close())
	}
	return oci.Blob{Digest: d, Size: size, Content: served.ReadSeekCloser, File: served.File}, nil
}

// agree settles a contradiction between the size of a finished blob and that of
// its link, either of which can be wrong: the file is read, and if it matches its
// digest, the link is corrected. It is fs.ErrNotExist if the blob turned out to
// be damaged, and an *oci.Error if that cannot be found out at present: such a
// file is not served.
func (v view) agree(ctx context.Context, d digest.Digest, link *storage.Link, size int64) error {
	if link.Size < 0 || link.Size == size {
		return nil
	}
	err := v.store.VerifyBlob(ctx, d)
	switch {
	case err == nil:
		link.Size = size
		v.resize(ctx, oci.Descriptor{Digest: d, Size: size})
		return nil
	case !errors.Is(err, fs.ErrNotExist):
	default:
		if now, gone := v.store.StatBlob(ctx, d); gone != nil || now != size {
			return err
		}
	}
	return oci.UpstreamError(oci.ClassLength, "", "the cached blob is in doubt and cannot be verified at present",
		fmt.Errorf("blob %s has %d bytes, %d were told: %w", d, size, link.Size, err))
}
