package listener

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
)

func freePort(t *testing.T) uint16 {
	t.Helper()
	address, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	at, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return at.AddrPort().Port()
}

// Who asks for a turn that somebody has waits for its end, and for nothing else.
func TestTakeTurns(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	a, b, c := freePort(t), freePort(t), freePort(t)
	release := TakeTurns(ctx, []uint16{b, a, b})
	TakeTurns(ctx, []uint16{c})()
	taken := make(chan func())
	go func() { taken <- TakeTurns(ctx, []uint16{a, c}) }()
	select {
	case <-taken:
		t.Fatal("two have the turn of one port")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	(<-taken)()
	if ctx.Err() != nil {
		t.Error("a turn that was given back cannot be taken")
	}
	TakeTurns(ctx, []uint16{a, b, c})()
}

// Nobody waits longer than they want to, whoever holds the turn.
func TestTurnThatDoesNotEnd(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	defer TakeTurns(t.Context(), []uint16{port})()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	TakeTurns(ctx, []uint16{port})()
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		t.Error("two have the turn of one port")
	}
}
