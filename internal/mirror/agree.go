package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/internal/oci"
)

// open opens the finished blob. It returns none if there is none that can be served, nor
// is an error.
func (q *blobQuery) open(ctx context.Context) (oci.Blob, oci.CacheStatus, error) {
	if !q.link.Proven {
		return oci.Blob{}, oci.CacheStatus{}, nil
	}
	served, size, err := q.store.ServeBlob(ctx, q.digest)
	if err == nil {
		if err = q.agree(ctx, size); err != nil {
			err = errors.Join(err, served.Close())
		}
	}
	switch {
	case err == nil:
		return oci.Blob{Digest: q.digest, Size: size, Content: served.ReadSeekCloser, File: served.File}, oci.CacheStatus{}, nil
	case oci.ClassOf(err) != oci.ClassNone:
		return oci.Blob{}, failed(true, err), err
	}
	q.store.readFailed("open blob", q.scope, q.digest.String(), err)
	return oci.Blob{}, oci.CacheStatus{}, nil
}

// agree settles a contradiction between the size of a finished blob and that of
// its link, either of which can be wrong: the file is read, and if it matches its
// digest, the link is corrected. It is fs.ErrNotExist if the blob turned out to
// be damaged, and an *oci.Error if that cannot be found out at present: such a
// file is not served.
func (q *blobQuery) agree(ctx context.Context, size int64) error {
	told := q.link.Size
	if told < 0 || told == size {
		return nil
	}
	err := q.store.VerifyBlob(ctx, q.digest)
	switch {
	case err == nil:
		q.link.Size = size
		q.resize(ctx, oci.Descriptor{Digest: q.digest, Size: size})
		return nil
	case !errors.Is(err, fs.ErrNotExist):
	default:
		if now, gone := q.store.StatBlob(ctx, q.digest); gone != nil || now != size {
			return err
		}
	}
	return oci.UpstreamError(oci.ClassLength, "", "the cached blob is in doubt and cannot be verified at present",
		fmt.Errorf("blob %s has %d bytes, %d were told: %w", q.digest, size, told, err))
}
