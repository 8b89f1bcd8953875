//go:build amd64 || arm64

package mapfault

import (
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handle is the signal handler. It runs on the signal stack of whichever thread
// has met the page, and uses nothing of Go's.
func handle() //nolint:unused // the kernel calls it

// handler returns the address of handle.
func handler() uintptr

// What handle reads and counts.
var (
	page     = uintptr(os.Getpagesize()) //nolint:unused // handle does
	previous uintptr                     //nolint:unused // the handler that was there before, which handle calls
	faults   uint64                      // pages that were replaced
)

// action is the kernel's struct sigaction. All but the handler is passed on as it
// came: the signal stack, the mask and the way back are those of Go's own.
type action struct {
	handler  uintptr
	flags    uint64
	restorer uintptr
	mask     uint64
}

// Supported says whether Survive does anything on this platform.
const Supported = true

var install = sync.OnceValue(func() error {
	var a action
	if err := sigaction(nil, &a); err != nil {
		return err
	}
	previous, a.handler = a.handler, handler()
	return sigaction(&a, nil)
})

// Survive makes the process survive from now on. It may be called more than
// once, and by several goroutines.
func Survive() error { return install() }

// Count returns how many pages were replaced since the process began.
func Count() uint64 { return atomic.LoadUint64(&faults) }

// sigaction is the system call: the one of package os/signal does not let go of
// the handler, which has to run before Go's.
func sigaction(set, old *action) error {
	const maskSize = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGBUS),
		uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), maskSize, 0, 0) //nolint:gosec // it takes addresses
	if errno != 0 {
		return errno
	}
	return nil
}
