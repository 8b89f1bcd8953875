package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/volume"
)

// StoredPin is a pin that lies in the store itself, beside those of its Limits.
type StoredPin = index.StoredPin

// Pin stores a pin: what it means is kept as what Limits.Pins mean, until Unpin. It
// reports whether there was no such pin before.
func (s *Store) Pin(ctx context.Context, p oci.Pin) (added bool, err error) {
	if added, err = s.setPin(ctx, p, true); err != nil {
		return false, fmt.Errorf("pin %s: %w", p, err)
	}
	return added, nil
}

// Unpin drops a stored pin that has the pattern of p, and reports whether there was
// one. What it meant is kept as long as another pin means it, too.
func (s *Store) Unpin(ctx context.Context, p oci.Pin) (dropped bool, err error) {
	if dropped, err = s.setPin(ctx, p, false); err != nil {
		return false, fmt.Errorf("unpin %s: %w", p, err)
	}
	return dropped, nil
}

func (s *Store) setPin(ctx context.Context, p oci.Pin, there bool) (changed bool, err error) {
	if err := s.life.Enter(ctx); err != nil {
		return false, err
	}
	defer s.life.Leave()
	if p.String() == "" {
		return false, errors.New("it has no pattern")
	}
	// A removal does not miss a pin that is made meanwhile.
	if err := s.pinTurn(ctx); err != nil {
		return false, err
	}
	defer func() { <-s.pinning }()
	key := append([]byte{index.TablePin}, p.String()...)
	if _, err := s.index.Get(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	} else if known := err == nil; known == there {
		return false, nil
	}
	err = s.index.Offer(ctx, len(key)+index.LinkBytes, func(b *index.Batch) error {
		if there {
			return b.Set(key, index.EncodePin(s.now()))
		}
		return b.Delete(key)
	})
	if err != nil {
		return false, err
	}
	s.ledger.SetPinned(volume.Tally{}, 0)
	s.limits.soon()
	return true, nil
}

// pinTurn waits for the turn to store pins, or to remove what none may mean. It is
// ErrStalled where who has it waits for an index that takes no writes.
func (s *Store) pinTurn(ctx context.Context) error {
	look := time.NewTicker(index.WritePatience)
	defer look.Stop()
	for {
		select {
		case s.pinning <- struct{}{}:
			return nil
		case <-look.C:
			if s.index.Stalled() {
				return ErrStalled
			}
		case <-s.life.Context().Done():
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Pins returns the stored pins, in order of their patterns.
func (s *Store) Pins(ctx context.Context) ([]StoredPin, error) {
	if err := s.life.Enter(ctx); err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	defer s.life.Leave()
	txn, err := s.index.Begin()
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	defer txn.Discard()
	return txn.Pins()
}

// allPins returns the pins of the limits, of which there are so many, and then those
// that are stored.
func (s *Store) allPins(txn *index.Txn) (pins []oci.Pin, limits int, err error) {
	stored, err := txn.Pins()
	if err != nil {
		return nil, 0, err
	}
	pins = slices.Clone(s.limits.Load().Pins)
	limits = len(pins)
	for _, p := range stored {
		pins = append(pins, p.Pin)
	}
	return pins, limits, nil
}

// Pinned reports whether a tag is that of an image that is pinned.
func (s *Store) Pinned(ctx context.Context, scope oci.Scope, tag string) (bool, error) {
	if err := s.life.Enter(ctx); err != nil {
		return false, fmt.Errorf("read pins: %w", err)
	}
	defer s.life.Leave()
	txn, err := s.index.Begin()
	if err != nil {
		return false, fmt.Errorf("read pins: %w", err)
	}
	defer txn.Discard()
	pins, _, err := s.allPins(txn)
	return slices.ContainsFunc(pins, func(p oci.Pin) bool { return p.Match(scope, tag) }), err
}
