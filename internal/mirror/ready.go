package mirror

import (
	"context"
	"time"
)

// tellAfter is how long a client's header waits for the size that the upstream tells.
// Then the size that was expected has to do: clients give up after some 30 s without
// a header.
const tellAfter = 5 * time.Second

// ready waits until the fill can be read without a proper error being lost: its
// size is known, and if it is small, or if that is not the size which the reader
// or the fill was told (-1 = none), it is verified. Where that takes long, told is
// the size: who reads finds out whether it was right.
func (f *fill) ready(ctx context.Context, told int64) (size int64, err error) {
	patience := time.NewTimer(f.c.deadlines.tell)
	defer patience.Stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for late := false; ; {
		certain := !f.learned && !f.disputed && (told < 0 || told == f.size)
		switch {
		case f.err != nil:
			return 0, f.err
		case f.verified, f.opened && f.size >= 0 && certain && (f.size > wholeSize || f.split != nil):
			return f.size, nil
		case f.split != nil:
			return 0, f.unstorable(f.cause)
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case late && !f.opened && told > 0 && !f.resting:
			return told, nil
		case late && f.size < 0 && f.expected > wholeSize && f.adoptLocked():
			continue
		}
		late = f.wait(ctx, patience.C) || late
	}
}
