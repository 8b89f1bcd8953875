package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/pullgate/pullgate/internal/bucket"
	"github.com/pullgate/pullgate/internal/oci"
)

// pinsEvery is how often the pins in the bucket are looked at without any news.
const pinsEvery = time.Minute

// sharedPin is a pin in the bucket.
type sharedPin struct {
	Pattern string    `json:"pattern"`
	Made    time.Time `json:"made"`
}

func pinKey(pattern string) string {
	sum := sha256.Sum256([]byte(pattern))
	return pinsAt + hex.EncodeToString(sum[:])
}

// pins brings those of a store and those in the bucket together.
type pins struct {
	depot *depot
	fleet *Fleet

	turn chan struct{} // holds one while they are compared
}

// Pin has all gateways keep what a pin means, as this one does.
func (f *Fleet) Pin(ctx context.Context, pin oci.Pin) error {
	d := f.depot.Load()
	if d == nil {
		return nil
	}
	err := d.pins.share(ctx, pin)
	if err == nil {
		err = d.tellNews(ctx)
	}
	if err != nil {
		return fmt.Errorf("pin %s in the bucket: %w", pin, err)
	}
	return nil
}

// share writes a pin to the bucket.
func (p *pins) share(ctx context.Context, pin oci.Pin) error {
	err := p.writer().write(ctx, pinKey(pin.String()), sharedPin{Pattern: pin.String(), Made: time.Now().UTC()}, bucket.PutOptions{})
	if err == nil {
		p.note(pin.String(), true)
	}
	return err
}

func (p *pins) writer() writer { return writer{depot: p.depot, fleet: p.fleet} }

// Unpin ends that, and reports whether the pin was in the bucket. The caller has it end
// here, too.
func (f *Fleet) Unpin(ctx context.Context, pin oci.Pin) (dropped bool, err error) {
	d := f.depot.Load()
	if d == nil {
		return false, nil
	}
	w, key := writer{depot: d, fleet: f}, pinKey(pin.String())
	_, err = w.stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = w.drop(ctx, key)
	}
	if err == nil {
		err = d.tellNews(ctx)
	}
	if err != nil {
		return false, fmt.Errorf("unpin %s in the bucket: %w", pin, err)
	}
	return true, nil
}

// note notes whether a pin was in the bucket: one that is missing there later was
// dropped by another gateway.
func (p *pins) note(pattern string, there bool) {
	if slices.Contains(p.depot.purges.kept.get().Pins, pattern) == there {
		return
	}
	p.depot.purges.kept.change(func(k *Kept) {
		k.Pins = slices.DeleteFunc(slices.Clone(k.Pins), func(one string) bool { return one == pattern })
		if there {
			k.Pins = append(k.Pins, pattern)
		}
	})
}

// follow has the store keep what is pinned on whichever gateway, as long as it is.
func (p *pins) follow() {
	d := p.depot
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for state, last := int64(-1), (time.Time{}); ; {
		if now := d.purges.news.Load(); (now != state || time.Since(last) >= pinsEvery) && d.reads.Open() == nil {
			state, last = now, time.Now()
			func() {
				defer p.fleet.survive("follow pins")
				if err := p.compare(d.ctx); err != nil && d.ctx.Err() == nil {
					d.log.Debug("pins are not compared with the bucket", "error", err)
				}
			}()
		}
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			return
		}
	}
}

// compare brings store and bucket together.
func (p *pins) compare(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	d := p.depot
	there := map[string]bool{}
	d.counts.reads.Add(1)
	for o, err := range d.objects.List(ctx, pinsAt, "") {
		if err != nil {
			return err
		}
		there[o.Key] = true
	}
	stored, err := p.fleet.local.Store.Pins(ctx)
	if err != nil {
		return err
	}
	kept := d.purges.kept.get().Pins
	var errs []error
	for _, one := range stored {
		pattern := one.String()
		switch key := pinKey(pattern); {
		case there[key]:
			delete(there, key)
			p.note(pattern, true)
		case slices.Contains(kept, pattern):
			errs = append(errs, p.end(ctx, one.Pin))
		default: // it is older than the bucket, or was made while that could not be written
			errs = append(errs, p.share(ctx, one.Pin))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(there)) {
		errs = append(errs, p.begin(ctx, key))
	}
	return errors.Join(errs...)
}

// begin stores a pin that another gateway has made.
func (p *pins) begin(ctx context.Context, key string) error {
	var shared sharedPin
	if etag, err := p.writer().read(ctx, key, &shared); err != nil || etag == "" {
		return err
	}
	pin, err := oci.ParsePin(shared.Pattern)
	if err != nil {
		return nil //nolint:nilerr // it is of a later version
	}
	if _, err := p.fleet.local.Store.Pin(ctx, pin); err != nil {
		return err
	}
	p.note(pin.String(), true)
	return nil
}

// end drops a pin that is not in the bucket any more. A list alone is not believed.
func (p *pins) end(ctx context.Context, pin oci.Pin) error {
	if _, err := p.writer().stat(ctx, pinKey(pin.String())); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := p.fleet.local.Store.Unpin(ctx, pin); err != nil {
		return err
	}
	p.note(pin.String(), false)
	return nil
}
