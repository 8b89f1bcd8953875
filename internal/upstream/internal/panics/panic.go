// Package panics carries a panic from one goroutine to another.
package panics

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Error is a panic on its way from a goroutine that nobody waits for with a
// recover, as those of a transport, to the one that wants the result. There it is
// a panic again, and whoever deals with panics does so.
type Error struct {
	value any
	stack []byte
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// Catch makes an error of a panic. It is to be deferred.
func Catch(err *error) {
	if p := recover(); p != nil {
		*err = &Error{p, debug.Stack()}
	}
}

// Raise panics if err is such an error.
func Raise(err error) {
	if panicked, ok := errors.AsType[*Error](err); ok {
		panic(panicked)
	}
}
