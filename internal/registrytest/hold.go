package registrytest

import (
	"context"
	"sync"
	"testing"
)

// Hold returns a gate for handlers to wait at, and what opens it; that may be called
// more than once. The end of the test opens it, too, before any server is closed: one
// would wait for ever for a handler that a failed assertion leaves at the gate. A server
// that is closed by defer is closed before that, so it is for t.Cleanup.
func Hold(t testing.TB) (gate <-chan struct{}, open func()) {
	t.Helper()
	opened := make(chan struct{})
	open = sync.OnceFunc(func() { close(opened) })
	context.AfterFunc(t.Context(), open)
	return opened, open
}
