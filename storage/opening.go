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
	} else if err := s.makeRoom(ctx); err != nil {
		return err
	}
	if err := s.makeLayout(); err != nil {
		return err
	}
	if !s.state.Writable() {
		s.beginRun(s.root.BootID())
	}
	return s.index.Open(s.inspect)
}

// noteState changes the state. That it cannot be written down is no reason to
// stop: only a crash would miss it.
func (s *Store) noteState(change func(*volume.State)) {
	if err := s.state.Write(func(st *volume.State) {
		change(st)
		st.Wall = s.now()
	}); err != nil {
		s.log.Warn("state not recorded", "error", err)
	}
}
