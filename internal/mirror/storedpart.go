package mirror

import (
	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/storage"
)

// storedPart is a part of the store, as a fill sees it.
type storedPart struct{ *storage.Part }

// Covered implements fill.Part.
func (p storedPart) Covered() []fill.Extent {
	extents := p.Part.Covered()
	covered := make([]fill.Extent, 0, len(extents))
	for _, x := range extents {
		covered = append(covered, fill.Extent(x))
	}
	return covered
}

// Suspend implements fill.Part.
func (p storedPart) Suspend(covered []fill.Extent) error {
	kept := make([]storage.Extent, 0, len(covered))
	for _, x := range covered {
		kept = append(kept, storage.Extent(x))
	}
	return p.Part.Suspend(kept)
}
