//go:build !linux || (!amd64 && !arm64)

package mapfault

// Supported says whether Survive does anything on this platform.
const Supported = false

// Survive does nothing: the process dies as it would without it.
func Survive() error { return nil }

// Count is always 0.
func Count() uint64 { return 0 }
