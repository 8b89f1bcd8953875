package fleet_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// gate stops what is read from connections, as a paused process at the other end does.
type gate struct {
	mu     sync.Mutex
	closed chan struct{} // nil = it is open
}

func (g *gate) close() (open func()) {
	closed := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
	return sync.OnceFunc(func() { close(closed) })
}

// dial connects through the gate.
func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &gated{Conn: c, gate: g, ended: make(chan struct{})}, err
}

type gated struct {
	net.Conn

	gate  *gate
	once  sync.Once
	ended chan struct{}
}

func (c *gated) Close() error {
	c.once.Do(func() { close(c.ended) })
	return c.Conn.Close()
}

func (c *gated) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.mu.Lock()
	closed := c.gate.closed
	c.gate.mu.Unlock()
	if closed != nil {
		select {
		case <-closed:
		case <-c.ended:
		}
	}
	return n, err
}

// The owner is paused in the middle of a download: it is lost after three seconds, its
// streams are cut, and the others go on without it.
func TestOwnerIsPaused(t *testing.T) {
	t.Parallel()
	from := registrytest.New(t, registrytest.Options{})
	d := from.PutRandom(repository, 1, 4<<20)
	var g gate
	h := &herd{t: t, every: time.Second, dial: g.dial}
	h.add(newGateway(t, from, nil))
	h.add(newGateway(t, from, nil))
	h.start()
	owner, others := h.owner(d.String())
	follower := others[0]
	begun, release := held(from, d)
	defer release()
	done := make(chan error, 5)
	go func() { done <- owner.verify(d) }()
	<-begun
	for range cap(done) - 1 {
		go func() { done <- follower.verify(d) }()
	}
	await(t, "the other one follows", func() bool { return follower.fleet.Peers().Received > 0 })
	open := g.close()
	defer open()
	for range cap(done) - 1 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := from.Count("GET", "blobs"); n != 2 {
		t.Errorf("%d downloads", n)
	}
}
