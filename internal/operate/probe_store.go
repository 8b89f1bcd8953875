package operate

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/pullgate/pullgate/storage"
)

// probe looks whether the store can keep more.
func (s *Store) probe() ProbeLine {
	began := time.Now()
	line := ProbeLine{What: ProbeStorage, Name: s.Path, State: StateFailing}
	err, u := s.CheckWritable(), s.Usage()
	switch {
	case errors.Is(err, storage.ErrNoSpace):
		line.Text = err.Error()
		line.Help = "make room on this disk, or give `max_size` less than it has; what is pinned stays, as \"mirror pins\" shows"
	case errors.Is(err, storage.ErrGone):
		line.Text, line.Help = err.Error(), "restart the server"
	case err != nil:
		line.Text, line.Help = "it cannot be written: "+err.Error(), "see whether the file system is read-only or damaged"
		if errors.Is(err, fs.ErrPermission) {
			line.Help = "give the folder to the user that the server runs as"
		}
	case !u.IndexOpen:
		line.Text, line.Help = "its index is not open: "+u.IndexError, "make room, or run \"mirror fsck\"; it is tried again meanwhile"
	case u.Overpinned:
		line.Text, line.Help = "pinned images exceed the limits by themselves", "raise `max_size`, or unpin some: see \"mirror pins\""
	default:
		line.OK, line.State = true, StateOK
		line.Text = fmt.Sprintf("%s of %s free, %s of blobs", sizeText(u.FreeBytes), sizeText(u.TotalBytes), sizeText(u.BlobBytes))
	}
	line.Seconds = time.Since(began).Seconds()
	return line
}

func sizeText(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }
