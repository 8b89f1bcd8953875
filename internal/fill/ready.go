package fill

import (
	"context"
	"time"
)

// Ready waits until the fill can be read without a proper error being lost: its
// size is known, and if it is small, or if that is not the size which the reader
// or the fill was told (-1 = none), it is verified. Where that takes long, told is
// the size: who reads finds out whether it was right.
func (f *Fill) Ready(ctx context.Context, told int64) (size int64, err error) {
	patience := time.NewTimer(f.SizePatience)
	defer patience.Stop()
	for late := false; ; {
		seen := f.changes.seen()
		v := f.outcome.now()
		size, ready, err := v.ready(told)
		switch {
		case ready || err != nil:
			return size, err
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case late && !v.opened && told > 0 && !v.resting:
			return told, nil
		case late && v.size < 0 && v.hint > WholeSize && f.adopt():
			continue
		}
		late = f.changes.wait(ctx, seen, patience.C) || late
	}
}

// Opened waits until the upstream has answered, or need not be asked.
func (f *Fill) Opened(ctx context.Context) error {
	for {
		seen := f.changes.seen()
		v := f.outcome.now()
		switch {
		case v.err != nil:
			return v.err
		case v.opened || ctx.Err() != nil:
			return ctx.Err()
		}
		f.changes.wait(ctx, seen, nil)
	}
}

// CertainSize returns the size that others than the readers may be told; -1 = it is not
// certain.
func (f *Fill) CertainSize() int64 {
	v := f.outcome.now()
	if v.err != nil || !v.opened || v.disputed && !v.verified {
		return -1
	}
	return v.size
}
