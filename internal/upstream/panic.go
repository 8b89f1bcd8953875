package upstream

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// panicError is a panic on its way from a goroutine that nobody waits for with a
// recover, as those of a transport, to the one that wants the result. There it is
// a panic again, and whoever deals with panics does so.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// caught, deferred, makes an error of a panic.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = &panicError{p, debug.Stack()}
	}
}

// raise panics if err is such an error.
func raise(err error) {
	if panicked, ok := errors.AsType[*panicError](err); ok {
		panic(panicked)
	}
}
