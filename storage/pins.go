package storage

import (
	"github.com/pullgate/pullgate/storage/internal/images"
	"github.com/pullgate/pullgate/storage/internal/index"
)

// The pins of a store, beside those of its Limits; see Store.Pin and Store.PinUses.
type (
	// StoredPin is a pin that lies in the store itself.
	StoredPin = index.StoredPin
	// PinUse is a pin and what it keeps at present.
	PinUse = images.PinUse
)

// notePinned remembers what a decision had to spare, and complains when pins alone
// exceed a limit.
func (s *Store) notePinned(limits Limits, d *decision) {
	s.usage.SetPinned(d.pinned, d.busy)
	over := limits.MaxSize > 0 && d.pinned.Bytes > limits.MaxSize
	for name, most := range limits.Upstreams {
		over = over || most > 0 && d.pinned.Upstreams[name] > most
	}
	if s.usage.overpinned.Swap(over) != over && over {
		s.log.Error("pinned images exceed the limit by themselves: nothing more is stored until there are fewer, or the limit is raised",
			"bytes", d.pinned.Bytes, "limit", limits.MaxSize)
	}
}
