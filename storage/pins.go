package storage

import "github.com/pullgate/pullgate/storage/internal/images"

// The pins of a store, beside those of its Limits; see Store.Pin, Store.PinUses and Store.Idle.
type (
	// PinUse is a pin and what it keeps at present.
	PinUse = images.PinUse
	// IdleBlob is a blob that was not used for long.
	IdleBlob = images.IdleBlob
)
