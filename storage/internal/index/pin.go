package index

import (
	"context"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
)

// StoredPin is a pin that lies in the store itself, beside those of its Limits.
type StoredPin struct {
	oci.Pin

	// Made is when it was stored, to the second.
	Made time.Time
}

// Pins returns the stored pins, in order of their patterns.
func (t *Txn) Pins() ([]StoredPin, error) {
	var pins []StoredPin
	err := t.Each(context.Background(), []byte{TablePin}, func(key, value []byte) error {
		p, err := oci.ParsePin(string(key[1:]))
		if err != nil {
			return nil //nolint:nilerr // it is of a later version
		}
		// What says when it was made may be damaged: it is a pin all the same.
		made, _ := DecodePin(value)
		pins = append(pins, StoredPin{p, made})
		return nil
	})
	return pins, err
}
