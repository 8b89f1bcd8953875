package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/pullgate/pullgate/internal/oci"
)

// StoredPin is a pin that lies in the store itself, beside those of its Limits.
type StoredPin struct {
	oci.Pin

	// Made is when it was stored, to the second.
	Made time.Time
}

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
	if err := s.enter(ctx); err != nil {
		return false, err
	}
	defer s.leave()
	if p.String() == "" {
		return false, errors.New("it has no pattern")
	}
	// A removal does not miss a pin that is made meanwhile.
	if err := s.pinTurn(ctx); err != nil {
		return false, err
	}
	defer func() { <-s.pinning }()
	key := append([]byte{tablePin}, p.String()...)
	if _, err := s.get(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	} else if known := err == nil; known == there {
		return false, nil
	}
	err = s.index.offer(ctx, len(key)+linkBytes, func(b *batch) error {
		if there {
			return b.set(key, encodePin(s.now()))
		}
		return b.delete(key)
	})
	if err != nil {
		return false, err
	}
	s.usage.setPinned(tally{}, 0)
	s.keepHouseNow()
	return true, nil
}

// pinTurn waits for the turn to store pins, or to remove what none may mean. It is
// ErrStalled where who has it waits for an index that takes no writes.
func (s *Store) pinTurn(ctx context.Context) error {
	look := time.NewTicker(writePatience)
	defer look.Stop()
	for {
		select {
		case s.pinning <- struct{}{}:
			return nil
		case <-look.C:
			if s.index.stalled() {
				return ErrStalled
			}
		case <-s.life.Done():
			return ErrClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Pins returns the stored pins, in order of their patterns.
func (s *Store) Pins(ctx context.Context) ([]StoredPin, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	defer s.leave()
	txn, err := s.begin()
	if err != nil {
		return nil, fmt.Errorf("read pins: %w", err)
	}
	defer txn.Discard()
	return storedPins(txn)
}

func storedPins(txn *badger.Txn) ([]StoredPin, error) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{tablePin}})
	defer it.Close()
	var pins []StoredPin
	for it.Rewind(); it.Valid(); it.Next() {
		p, err := oci.ParsePin(string(it.Item().Key()[1:]))
		if err != nil {
			continue // of a later version
		}
		pin := StoredPin{Pin: p}
		// What says when it was made may be damaged: it is a pin all the same.
		err = it.Item().Value(func(v []byte) error { pin.Made, _ = decodePin(v); return nil })
		if err != nil {
			return nil, fmt.Errorf("read pin %s: %w", p, err)
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// allPins returns the pins of the limits, of which there are so many, and then those
// that are stored.
func (s *Store) allPins(txn *badger.Txn) (pins []oci.Pin, limits int, err error) {
	stored, err := storedPins(txn)
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
	if err := s.enter(ctx); err != nil {
		return false, fmt.Errorf("read pins: %w", err)
	}
	defer s.leave()
	txn, err := s.begin()
	if err != nil {
		return false, fmt.Errorf("read pins: %w", err)
	}
	defer txn.Discard()
	pins, _, err := s.allPins(txn)
	return slices.ContainsFunc(pins, func(p oci.Pin) bool { return p.Match(scope, tag) }), err
}
