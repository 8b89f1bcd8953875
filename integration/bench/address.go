package main

import "unsafe"

// addressOf is where a buffer lies, for a system call that keeps it no longer
// than it lasts.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(&b[0])) }
