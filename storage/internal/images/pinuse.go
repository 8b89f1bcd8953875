package images

import (
	"context"
	"fmt"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// PinUse is a pin and what it keeps at present.
type PinUse struct {
	Pattern string `json:"pattern"`
	// Stored says that the pin was made by Pin; else it is one of the Limits. There
	// may be both of one pattern.
	Stored bool `json:"stored"`
	// Made is when it was stored; nil = it was not, or that is not known.
	Made *time.Time `json:"made,omitempty"`
	// Images are the tags that match, or the digest if its manifest is here. Blobs and
	// Bytes are those that it keeps, also if other pins do.
	Images int64 `json:"images"`
	Blobs  int64 `json:"blobs"`
	Bytes  int64 `json:"bytes"`
}

// PinUses returns all pins, first those of the Limits, with what each keeps.
func (p *Pinning) PinUses(ctx context.Context) (uses []PinUse, err error) {
	if err := p.life.Task(ctx, func(ctx context.Context) error { uses, err = p.uses(ctx); return err }); err != nil {
		return nil, fmt.Errorf("look at pins: %w", err)
	}
	return uses, nil
}

func (p *Pinning) uses(ctx context.Context) ([]PinUse, error) {
	txn, err := p.index.Begin()
	if err != nil {
		return nil, err
	}
	defer txn.Discard()
	stored, err := txn.Pins()
	if err != nil {
		return nil, err
	}
	uses := []PinUse{}
	var pins []oci.Pin
	for _, one := range p.configured() {
		pins, uses = append(pins, one), append(uses, PinUse{Pattern: one.String()})
	}
	for _, one := range stored {
		pins, uses = append(pins, one.Pin), append(uses, PinUse{Pattern: one.String(), Stored: true, Made: timeOf(one.Made)})
	}
	means := make([]Set, len(pins))
	for n, one := range pins {
		if means[n], err = p.resolve(ctx, txn, []oci.Pin{one}); err != nil {
			return nil, err
		}
		if i, err := volume.IDOf(one.Digest); err == nil {
			if txn.Has(index.TableKey(index.TableManifest, i)) {
				uses[n].Images = 1
			}
		}
	}
	if len(pins) == 0 {
		return uses, nil
	}
	err = txn.Tags(ctx, "", func(scope oci.Scope, tag string, _ []byte) error {
		for n, p := range pins {
			if p.Match(scope, tag) {
				uses[n].Images++
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = txn.Blobs(ctx, func(i volume.ID, r index.Blob, _ index.Use) error {
		for n := range pins {
			if means[n].Has(i) {
				uses[n].Blobs, uses[n].Bytes = uses[n].Blobs+1, uses[n].Bytes+r.Size
			}
		}
		return nil
	})
	return uses, err
}
