package storage

import (
	"context"
	"time"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

const (
	// indexRetry is how often an index that could not be opened is tried again,
	// indexLook how often it is looked whether what kept it from that is over.
	indexRetry = 30 * time.Second
	indexLook  = 2 * time.Second
)

// openIndex opens the index, and makes room for it. An error means that there is none
// at present, through no fault of its own.
func (s *Store) openIndex(ctx context.Context) error {
	if s.quiet {
		// Nothing is removed to make any.
		if err := s.space.CheckReserve(); err != nil {
			return err
		}
	} else if err := s.eviction.MakeIndexRoom(ctx); err != nil {
		return err
	}
	if err := s.layout.make(); err != nil {
		return err
	}
	if !s.state.Writable() {
		s.beginRun()
	}
	return s.index.Open(s.inspect)
}

// beginRun opens the state and records in it that the store is open.
func (s *Store) beginRun() {
	// Without VERSION, it would make the directory one that is not ours.
	if _, err := s.root.Lstat(volume.VersionFile); err == nil {
		if err := s.state.Open(s.root); err != nil {
			s.log.Warn("state of the store is not recorded", "error", err)
		}
	}
	s.clock.Begin(s.state.Wall)
	s.durability.Begin(s.root.BootID())
}
