package eviction

import (
	"fmt"
	"syscall"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/storage/internal/volume"
)

// smallLimit is what a limit has at most that has probably lost its unit: a fraction of
// any image.
const smallLimit = 1 << 20

// LimitError says that a limit is too small for a blob, whatever went for it. It is a
// volume.ErrNoSpace, though the disk may have room.
type LimitError struct {
	// Size is that of the blob, Pinned what has to stay beside it, and Limit the most.
	Size, Pinned, Limit int64
	// Upstream is the one that has the limit; empty = the store has.
	Upstream string
	// Again says that there was such an error before, with the same limits.
	Again bool
}

// Error says what to set.
func (e *LimitError) Error() string {
	of, hint, beside := "storage", "raise it", ""
	if e.Upstream != "" {
		of = "upstream " + e.Upstream
	}
	if e.Limit <= smallLimit {
		hint = fmt.Sprintf("did you mean %dGiB?", e.Limit)
	}
	if e.Pinned > 0 {
		beside = ", beside " + humanize.IBytes(uint64(e.Pinned)) + " that are pinned"
	}
	return fmt.Sprintf("blob of %s is larger than max_size of %s, %s%s: %s",
		humanize.IBytes(uint64(max(e.Size, 0))), of, humanize.IBytes(uint64(e.Limit)), beside, hint)
}

// Is reports whether the target is an error about too little space.
func (e *LimitError) Is(target error) bool {
	return target == volume.ErrNoSpace || target == syscall.ENOSPC
}
