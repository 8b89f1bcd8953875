package storage

import (
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// The pins of a store, beside those of its Limits; see Store.Pin, Store.PinUses and Store.Idle.
type (
	// StoredPin is a pin that lies in the store itself.
	StoredPin = index.StoredPin
	// PinUse is a pin and what it keeps at present.
	PinUse = images.PinUse
	// IdleBlob is a blob that was not used for long.
	IdleBlob = images.IdleBlob
)
