package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"

	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// PinRequest is about one pin, as in the option pin, or for Pins about all. Without a
// path it is about all stores.
type PinRequest struct {
	Path string
	Pin  oci.Pin
	// More are further pins to be stored. Over HTTP, they are the body, each in a line.
	More []oci.Pin
}

// Parameters returns the query.
func (q *PinRequest) Parameters() Parameters {
	return Parameters{"path": text(&q.Path), "pattern": {func(value string) (err error) {
		q.Pin, err = oci.ParsePin(value)
		return err
	}, func() string { return q.Pin.String() }}}
}

// ReadBody reads the further pins.
func (q *PinRequest) ReadBody(w http.ResponseWriter, r *http.Request) error {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, imagelist.MaxSize))
	if err != nil {
		return refuse(http.StatusBadRequest, err)
	}
	for line := range strings.Lines(string(raw)) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		pin, err := oci.ParsePin(line)
		if err != nil {
			return refuse(http.StatusBadRequest, err)
		}
		q.More = append(q.More, pin)
	}
	return nil
}

func (q *PinRequest) body() io.Reader {
	var b strings.Builder
	for _, pin := range q.More {
		b.WriteString(pin.String() + "\n")
	}
	return strings.NewReader(b.String())
}

// pins returns all pins of the request, each once.
func (q *PinRequest) pins() (pins []oci.Pin) {
	seen := map[string]bool{"": true} // which is no pin
	for _, pin := range append([]oci.Pin{q.Pin}, q.More...) {
		if !seen[pin.String()] {
			seen[pin.String()] = true
			pins = append(pins, pin)
		}
	}
	return pins
}

// PinReport is what is pinned: by the command, or by all pins.
type PinReport struct {
	// Changed says that there was no such pin before, or is none any more.
	Changed bool `json:"changed,omitempty"`
	// Known are those of several that were stored before.
	Known []string         `json:"known,omitempty"`
	Pins  []storage.PinUse `json:"pins"`
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
		asked := map[string]bool{}
		for _, pin := range q.pins() {
			changed, err := s.Pin(ctx, pin)
			if err == nil && s.Fleet != nil {
				err = s.Fleet.Pin(ctx, pin)
			}
			if err != nil {
				return report, err
			}
			if !changed {
				report.Known = append(report.Known, pin.String())
			}
			report.Changed, asked[pin.String()] = report.Changed || changed, true
		}
		uses, err := s.PinUses(ctx)
		for _, use := range uses {
			if use.Stored && asked[use.Pattern] {
				report.Pins = append(report.Pins, use)
			}
		}
		return report, err
	})
}

// Unpin implements Gateway.
func (l *Local) Unpin(ctx context.Context, q PinRequest, tell func(PinLine)) error {
	if len(q.More) > 0 {
		return refuse(http.StatusBadRequest, errors.New("only one pin is dropped at a time"))
	}
	return all(l, q.Path, tell, func(s *Store, _ func(PinReport)) (report PinReport, err error) {
		shared := false
		if s.Fleet != nil {
			if shared, err = s.Fleet.Unpin(ctx, q.Pin); err != nil {
				return report, err
			}
		}
		if report.Changed, err = s.Unpin(ctx, q.Pin); err != nil {
			return report, err
		}
		report.Changed = report.Changed || shared
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
