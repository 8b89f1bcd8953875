package storage

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/storage/internal/integrity"
)

// What a check is asked and what it finds.
type (
	// CheckOptions say how thorough a check is and what it does about what it finds.
	// The zero value looks at everything but the bytes of blobs, and changes nothing.
	CheckOptions = integrity.CheckOptions
	// CheckProgress is how far a check of the blobs got.
	CheckProgress = integrity.CheckProgress
	// CheckReport is what a check found.
	CheckReport = integrity.Report
	// Finding is something that is not as it should be.
	Finding = integrity.Finding
	// FindingKind is what is wrong with something.
	FindingKind = integrity.FindingKind
	// FindingCount counts findings of one kind.
	FindingCount = integrity.FindingCount
	// Pace keeps what is read of blobs to a rate; nil keeps to none.
	Pace = integrity.Pace
)

// The kinds of findings.
const (
	FindingIndex      = integrity.FindingIndex
	FindingDamaged    = integrity.FindingDamaged
	FindingSize       = integrity.FindingSize
	FindingUnrecorded = integrity.FindingUnrecorded
	FindingMissing    = integrity.FindingMissing
	FindingManifest   = integrity.FindingManifest
	FindingRecord     = integrity.FindingRecord
	FindingPart       = integrity.FindingPart
	FindingSnapshot   = integrity.FindingSnapshot
	FindingStray      = integrity.FindingStray
)

// NewPace returns the pace of a rate in bytes per second; 0 = none.
func NewPace(rate int64) *Pace { return integrity.NewPace(rate) }

// Check looks for what is not as it should be in the whole store, and mends it
// if told to. The store works on meanwhile, and what changes under the check is
// no finding. It stops when ctx is done or the store closed, with that error and
// what it found so far; a store that cannot be read is an error, too. It may be
// called any number of times at once, to no use.
//
// What is missing is no damage: neither a blob, a manifest or a snapshot that
// is not here, nor a tag or link that leads to one.
func (s *Store) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	tables := func(c *integrity.Check) *tableCheck { return &tableCheck{Check: c, store: s} }
	report, err := s.judge.Check(ctx, o, integrity.Others{
		Index:  func(ctx context.Context, c *integrity.Check) (bool, error) { return tables(c).index(ctx) },
		Tables: func(ctx context.Context, c *integrity.Check) error { return tables(c).tables(ctx) },
		Files: []func(context.Context, *integrity.Check) error{
			s.parts.check,
			func(ctx context.Context, c *integrity.Check) error { return tables(c).snapshots(ctx) },
		},
	})
	if err != nil {
		err = fmt.Errorf("check storage %s: %w", s.home.path, err)
	}
	return report, err
}
