package config

import (
	"errors"
	"fmt"
)

// Download says how blobs are pulled from an upstream.
type Download struct {
	// How many connections pull one blob at a time, where each of them is what
	// limits the speed; further ones are opened only as long as they make it
	// faster. 1 = a single one. Default: 4.
	ParallelDownload int `json:"parallel_download,omitempty"`

	// How many blobs of an image are pulled at a time before a client asks for
	// them, once it has asked for a whole layer that was not there: clients ask for
	// three at a time. -1 = none. Default: 6.
	LookAhead int `json:"look_ahead,omitempty"`

	// How many bytes of one image are pulled before a client asks for them. -1 = any
	// number. Default: 20 GiB.
	LookAheadSize int64 `json:"look_ahead_size,omitempty"`

	// Hold the end of every range of a blob back until the whole blob was verified.
	// Otherwise the answer says detail=unverified in Cache-Status where it was not.
	VerifyRanges bool `json:"verify_ranges,omitempty"`
}

const (
	defaultParallelDownload = 4
	maxParallelDownload     = 16
	defaultLookAhead        = 6
)

func (d *Download) check() error {
	switch {
	case d.ParallelDownload < 0 || d.ParallelDownload > maxParallelDownload:
		return fmt.Errorf("parallel_download is %d, want 1 to %d connections", d.ParallelDownload, maxParallelDownload)
	case d.LookAhead < -1:
		return errors.New("look_ahead must not be negative, except -1 (off)")
	case d.LookAheadSize < -1:
		return errors.New("look_ahead_size must not be negative, except -1 (any)")
	}
	return nil
}

func (d *Download) parallel() int {
	if d.ParallelDownload == 0 {
		return defaultParallelDownload
	}
	return d.ParallelDownload
}

// lookAhead leaves half of the fills that may run to those that clients wait for.
func (d *Download) lookAhead(maxFills int) int {
	n := d.LookAhead
	switch n {
	case 0:
		n = defaultLookAhead
	case -1:
		return 0
	}
	if maxFills > 0 {
		n = min(n, maxFills/2)
	}
	return n
}
