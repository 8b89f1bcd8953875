//go:build unix

package volume

import (
	"io/fs"
	"syscall"
)

// ownerOf returns whose a file is.
func ownerOf(info fs.FileInfo) (user, group int, known bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return int(st.Uid), int(st.Gid), true
}
