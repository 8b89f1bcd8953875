package images

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage/internal/index"
	"github.com/pullgate/pullgate/storage/internal/life"
)

// Pinning is which images are pinned: those of the configuration, and those of pins that
// lie in the store. Its methods are safe for concurrent use.
type Pinning struct {
	life       *life.Life
	index      *index.Index
	contents   Contents
	now        func() time.Time
	configured func() []oci.Pin
	changed    func() // called once a pin was stored or dropped

	turn chan struct{} // holds one while a pin is stored, or what none may mean removed
}

// NewPinning returns the pins of a store.
func NewPinning(l *life.Life, x *index.Index, contents Contents, now func() time.Time, configured func() []oci.Pin, changed func()) *Pinning {
	return &Pinning{
		life: l, index: x, contents: contents, now: now, configured: configured, changed: changed, turn: make(chan struct{}, 1),
	}
}

// Pin stores a pin: what it means is kept as what Limits.Pins mean, until Unpin. It
// reports whether there was no such pin before.
func (p *Pinning) Pin(ctx context.Context, pin oci.Pin) (added bool, err error) {
	if added, err = p.set(ctx, pin, true); err != nil {
		return false, fmt.Errorf("pin %s: %w", pin, err)
	}
	return added, nil
}

// Unpin drops a stored pin that has its pattern, and reports whether there was
// one. What it meant is kept as long as another pin means it, too.
func (p *Pinning) Unpin(ctx context.Context, pin oci.Pin) (dropped bool, err error) {
	if dropped, err = p.set(ctx, pin, false); err != nil {
		return false, fmt.Errorf("unpin %s: %w", pin, err)
	}
	return dropped, nil
}

func (p *Pinning) set(ctx context.Context, pin oci.Pin, there bool) (changed bool, err error) {
	err = p.life.Within(ctx, func() error {
		if pin.String() == "" {
			return errors.New("it has no pattern")
		}
		// A removal does not miss a pin that is made meanwhile.
		end, err := p.Turn(ctx)
		if err != nil {
			return err
		}
		defer end()
		key := append([]byte{index.TablePin}, pin.String()...)
		if _, err := p.index.Get(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		} else if known := err == nil; known == there {
			return nil
		}
		err = p.index.Offer(ctx, len(key)+index.LinkBytes, func(b *index.Batch) error {
			if there {
				return b.Set(key, index.EncodePin(p.now()))
			}
			return b.Delete(key)
		})
		if changed = err == nil; changed {
			p.changed()
		}
		return err
	})
	return changed, err
}

// Turn waits for the turn to store pins, or to remove what none may mean, and returns
// what ends it. It is ErrStalled where whoever has it waits for an index that takes no
// writes.
func (p *Pinning) Turn(ctx context.Context) (end func(), err error) {
	look := time.NewTicker(index.WritePatience)
	defer look.Stop()
	for {
		select {
		case p.turn <- struct{}{}:
			return func() { <-p.turn }, nil
		case <-look.C:
			if p.index.Stalled() {
				return nil, index.ErrStalled
			}
		case <-p.life.Context().Done():
			return nil, life.ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Taken reports whether somebody has the turn.
func (p *Pinning) Taken() bool { return len(p.turn) > 0 }

// Pins returns the stored pins, in order of their patterns.
func (p *Pinning) Pins(ctx context.Context) (pins []index.StoredPin, err error) {
	err = p.view(ctx, func(txn *index.Txn) (err error) {
		pins, err = txn.Pins()
		return err
	})
	return pins, err
}

// Pinned reports whether a tag is that of an image that is pinned.
func (p *Pinning) Pinned(ctx context.Context, scope oci.Scope, tag string) (pinned bool, err error) {
	err = p.view(ctx, func(txn *index.Txn) error {
		pins, _, err := p.all(txn)
		pinned = slices.ContainsFunc(pins, func(pin oci.Pin) bool { return pin.Match(scope, tag) })
		return err
	})
	return pinned, err
}

func (p *Pinning) view(ctx context.Context, fn func(*index.Txn) error) error {
	if err := p.life.Within(ctx, func() error { return p.index.View(fn) }); err != nil {
		return fmt.Errorf("read pins: %w", err)
	}
	return nil
}

// all returns the pins of the configuration, of which there are so many, and then those
// that are stored.
func (p *Pinning) all(txn *index.Txn) (pins []oci.Pin, configured int, err error) {
	stored, err := txn.Pins()
	if err != nil {
		return nil, 0, err
	}
	pins = slices.Clone(p.configured())
	configured = len(pins)
	for _, one := range stored {
		pins = append(pins, one.Pin)
	}
	return pins, configured, nil
}
