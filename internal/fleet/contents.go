package fleet

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// contents reads a manifest of the bucket, and returns what it leads to. One that is not
// there, or is none, leads nowhere.
func (d *depot) contents(ctx context.Context, of digest.Digest) (none oci.Contents, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeBudget)
	defer cancel()
	d.counts.reads.Add(1)
	o, err := d.objects.Get(ctx, manifestKey(of), 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	if err != nil {
		return none, err
	}
	defer o.Close()
	raw, err := io.ReadAll(io.LimitReader(o, oci.MaxManifestSize+1))
	if err != nil || !oci.Verify(of, raw) {
		return none, err
	}
	_, contents, _ := oci.DecodeManifest(strings.TrimPrefix(o.ContentType, untyped), raw)
	return contents, nil
}
