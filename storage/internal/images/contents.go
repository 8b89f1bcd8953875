package images

import (
	"errors"
	"io"
	"io/fs"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// Contents reads what manifests point to.
type Contents struct{ Root volume.Files }

// Of returns what a manifest points to: nothing if it is not stored, or cannot be
// parsed.
func (c Contents) Of(txn *index.Txn, i volume.ID) (oci.Contents, error) {
	raw, err := txn.Get(index.TableKey(index.TableManifest, i))
	if errors.Is(err, fs.ErrNotExist) {
		return oci.Contents{}, nil
	}
	if err != nil {
		return oci.Contents{}, err
	}
	r, ok := index.DecodeManifest(raw)
	if ok && r.External {
		if r.Bytes, err = c.unused(i); err != nil {
			return oci.Contents{}, err
		}
	}
	if !ok {
		return oci.Contents{}, nil
	}
	contents, _ := oci.ParseManifest(r.Bytes)
	return contents, nil
}

// unused reads a manifest from its file, without that being a use. What is not
// there is empty.
func (c Contents) unused(i volume.ID) ([]byte, error) {
	f, err := c.Root.Open(i.BlobPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, min(info.Size(), oci.MaxManifestSize+1))
	n, err := io.ReadFull(f, raw)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // it is no manifest then
	}
	return raw[:n], err
}
