package volume

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// OwnLock says that lockFile does exclude others.
const OwnLock = true

// lockFile takes the lock of f without waiting; errHeld if another open file
// has it, of this process or another.
func lockFile(f *os.File) error {
	err := onDescriptor(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}

// openBeneath opens a file below dir for reading, in one system call, and follows no
// link that leads out of it (openat2(2), Linux 5.6). The file gets the name full. Where
// that call does not exist, or is forbidden, as in some containers, no file is opened.
func openBeneath(dir *os.File, name, full string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_LARGEFILE,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	opened := -1
	err := onDescriptor(dir, func(fd int) (err error) {
		opened, err = unix.Openat2(fd, name, &how)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "openat2", Path: full, Err: err}
	}
	return os.NewFile(uintptr(opened), full), nil
}

// datasync brings the bytes of f to the disk.
func datasync(f *os.File) error { return onDescriptor(f, unix.Fdatasync) }

// allocate takes the space that f will need, so that a disk that is too small
// says so at once. A file system that cannot do it is no error, but reported: also one,
// such as ZFS, that says it did and holds nothing back.
func allocate(f *os.File, size int64) (taken bool, err error) {
	var st unix.Stat_t
	err = onDescriptor(f, func(fd int) error {
		if err := unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, size); err != nil {
			return err
		}
		return unix.Fstat(fd, &st)
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return err == nil && st.Blocks*512 >= size, err
}

// allocated returns the bytes that a file takes on the disk.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

// bytesOf returns the bytes that are free to us, and all bytes, of the file
// system that dir lies on.
func bytesOf(dir string) (free, total int64, err error) {
	st, err := statfs(dir)
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, err
}

// inodesOf returns the free and all inodes of the file system that dir lies on.
func inodesOf(dir string) (free, total int64, err error) {
	st, err := statfs(dir)
	return int64(st.Ffree), int64(st.Files), err
}

func statfs(dir string) (st unix.Statfs_t, err error) {
	for {
		if err = unix.Statfs(dir, &st); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return unix.Statfs_t{}, os.NewSyscallError("statfs", err)
	}
	return st, nil
}

// syncVolume brings all that was written to the file system of f to the disk.
func syncVolume(f *os.File) (done bool, err error) {
	err = onDescriptor(f, unix.Syncfs)
	return err == nil, err
}

// dropPages tells the kernel that f will not be read again soon: what is only
// looked through must not push out what is in use.
func dropPages(f *os.File) {
	// It is only a hint.
	_ = onDescriptor(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

// bootID tells one run of the kernel from another; empty = unknown.
func bootID() string {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(raw))
}

// onDescriptor keeps the descriptor from being closed, and its number from
// being used for another file, while fn runs.
func onDescriptor(f *os.File, fn func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := c.Control(func(fd uintptr) {
		for {
			if err = fn(int(fd)); !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}); cerr != nil {
		return cerr
	}
	return err
}
