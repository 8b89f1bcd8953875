package operate

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// PinRequest is about one pin, as in the option pin, or for Pins about all. Without a
// path it is about all stores.
type PinRequest struct {
	Path string
	Pin  oci.Pin
}

// Parameters returns the query.
func (q *PinRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "pattern": {func(value string) (err error) {
		q.Pin, err = oci.ParsePin(value)
		return err
	}, func() string { return q.Pin.String() }}}
}

// PinReport is what is pinned: by the command, or by all pins.
type PinReport struct {
	// Changed says that there was no such pin before, or is none any more.
	Changed bool             `json:"changed,omitempty"`
	Pins    []storage.PinUse `json:"pins"`
}

// Pins implements Gateway.
func (l *Local) Pins(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return all(l, q.Path, tell, func(s *Store, _ func(PinReport)) (PinReport, error) {
		uses, err := s.PinUses(ctx)
		return PinReport{Pins: uses}, err
	})
}

// Pin implements Gateway.
func (l *Local) Pin(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return all(l, q.Path, tell, func(s *Store, _ func(PinReport)) (report PinReport, err error) {
		if report.Changed, err = s.Pin(ctx, q.Pin); err != nil {
			return report, err
		}
		uses, err := s.PinUses(ctx)
		for _, use := range uses {
			if use.Stored && use.Pattern == q.Pin.String() {
				report.Pins = append(report.Pins, use)
			}
		}
		return report, err
	})
}

// Unpin implements Gateway.
func (l *Local) Unpin(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	return all(l, q.Path, tell, func(s *Store, _ func(PinReport)) (report PinReport, err error) {
		if report.Changed, err = s.Unpin(ctx, q.Pin); err != nil {
			return report, err
		}
		uses, err := s.PinUses(ctx)
		if err != nil {
			return report, err
		}
		for _, use := range uses {
			if use.Pattern == q.Pin.String() {
				return report, fmt.Errorf("%s is pinned by the configuration: take it out of the option pin of storage there", q.Pin)
			}
		}
		if !report.Changed {
			return report, noPinError(q.Pin.String())
		}
		return report, nil
	})
}

// noPinError is an fs.ErrNotExist.
type noPinError string

func (e noPinError) Error() string {
	return fmt.Sprintf("there is no pin %s: \"mirror pins\" lists what there is", string(e))
}

func (noPinError) Is(target error) bool { return target == fs.ErrNotExist }
