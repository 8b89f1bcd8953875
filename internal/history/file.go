package history

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// mostFile is how much a file may hold, unpacked. The largest has less than half of it.
const mostFile = 2 << 20

// content is what a file holds: JSON, packed with gzip, which has a checksum.
type content struct {
	Minutes []Point `json:"minutes"`
	Hours   []Point `json:"hours"`
}

func encode(c content) ([]byte, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(c), w.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decode reads a file. What is damaged in part is damaged.
func decode(raw []byte) (c content, err error) {
	r, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return content{}, err
	}
	text, err := io.ReadAll(io.LimitReader(r, mostFile+1))
	switch {
	case err != nil:
		return content{}, err
	case len(text) > mostFile:
		return content{}, fmt.Errorf("more than %d bytes", mostFile)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return content{}, err
	}
	minutes, hours := minutesOf(c.Minutes), hoursOf(c.Hours)
	if err := errors.Join(minutes.check(), hours.check()); err != nil {
		return content{}, err
	}
	return c, nil
}

func minutesOf(points []Point) series { return series{Fine, minutesKept, points} }
func hoursOf(points []Point) series   { return series{Coarse, hoursKept, points} }
