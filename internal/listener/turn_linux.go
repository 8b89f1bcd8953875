package listener

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"syscall"
)

// TakeTurns waits until no other process that asks is about to listen at one of the
// ports, and has those that ask later wait until it is released, or this process ends.
// It goes without once ctx is done: other users of the machine may hold a turn, too.
//
// A turn is an abstract socket: like a port, there is one of a name in each network
// namespace, and none is left of a process that has ended.
func TakeTurns(ctx context.Context, ports []uint16) (release func()) {
	var taken []net.Listener
	for _, port := range slices.Compact(slices.Sorted(slices.Values(ports))) { // in one order, so that nobody waits in a circle
		if turn := takeTurn(ctx, "@pullgate-listen-"+strconv.Itoa(int(port))); turn != nil {
			taken = append(taken, turn)
		}
	}
	return func() {
		for _, turn := range taken {
			_ = turn.Close()
		}
	}
}

func takeTurn(ctx context.Context, name string) net.Listener {
	for ctx.Err() == nil {
		turn, err := new(net.ListenConfig).Listen(ctx, "unix", name)
		if err == nil {
			return turn
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil
		}
		awaitTurn(ctx, name)
	}
	return nil
}

// awaitTurn returns once the turn may be free. Its holder accepts no connection, and
// closing it ends those that wait.
func awaitTurn(ctx context.Context, name string) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", name)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, _ = conn.Read(make([]byte, 1))
}
