package storage

import (
	"cmp"
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// What a store holds by name; see Store.Inventory and Store.Catalog.
type (
	// Inventory is what a store holds, part by part.
	Inventory = images.Inventory
	// Holding is one part of an Inventory.
	Holding = images.Holding
	// DiskUse is what the directory of a store takes on the disk.
	DiskUse = volume.DiskUse
	// Catalog is what a store has by name, as it was at one moment.
	Catalog = images.Catalog
	// CatalogTag is a tag of a Catalog.
	CatalogTag = images.CatalogTag
)

// Inventory returns what there is of a selection, as of one moment. It takes some 50
// bytes of memory for each blob of the store. fs.ErrNotExist if there is nothing, and
// the store is not merely empty.
func (s *Store) Inventory(ctx context.Context, sel oci.Selection) (v Inventory, err error) {
	err = s.life.Task(ctx, func(ctx context.Context) error {
		return s.index.View(func(txn *index.Txn) (err error) {
			v, err = images.Take(ctx, txn, images.Contents{Root: s.home.root}, sel, s.Records.uses.Latest.At)
			return err
		})
	})
	if err != nil {
		return Inventory{}, fmt.Errorf("take inventory of %s: %w", cmp.Or(sel.String(), "everything"), err)
	}
	return v, nil
}

// DiskUse returns what the directory takes on the disk. It looks at every file.
func (s *Store) DiskUse(ctx context.Context) (use DiskUse, err error) {
	err = s.life.Task(ctx, func(ctx context.Context) error {
		use, err = volume.MeasureDisk(ctx, s.home.root)
		return err
	})
	if err != nil {
		return DiskUse{}, fmt.Errorf("measure the disk: %w", err)
	}
	return use, nil
}

// Catalog returns what the store has at present. It is ErrNoIndex while that is
// not known.
func (s *Store) Catalog(ctx context.Context) (*Catalog, error) {
	return images.NewCatalog(ctx, s.life, s.index)
}
