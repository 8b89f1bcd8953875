package caddymodule

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/dustin/go-humanize"
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

func init() {
	upstreamOptions["verify_ranges"] = upstreamOption{set: func(u *Upstream, _ []string) error {
		u.VerifyRanges = true
		return nil
	}}
	upstreamOptions["parallel_download"] = upstreamOption{min: 1, max: 1, set: func(u *Upstream, args []string) error {
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 1 || n > maxParallelDownload {
			return fmt.Errorf("parallel_download: %q is no number of connections: want 1 to %d", args[0], maxParallelDownload)
		}
		u.ParallelDownload = int(n)
		return nil
	}}
	upstreamOptions["look_ahead"] = upstreamOption{min: 1, max: 2, set: func(u *Upstream, args []string) error {
		if args[0] == "off" && len(args) == 1 {
			u.LookAhead = -1
			return nil
		}
		n, err := strconv.ParseInt(args[0], 10, 32)
		if err != nil || n < 1 {
			return fmt.Errorf("look_ahead: %q is no number of blobs: want such as 6, or off", args[0])
		}
		u.LookAhead = int(n)
		if len(args) == 1 {
			return nil
		}
		size, err := humanize.ParseBytes(args[1])
		if err != nil || size == 0 || size > math.MaxInt64 {
			return fmt.Errorf("look_ahead: %q is no size: want such as 20GiB", args[1])
		}
		u.LookAheadSize = int64(size)
		return nil
	}}
}
