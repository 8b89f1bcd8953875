package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// relay is a load balancer in front of a server. It can drop the connections
// that it has without telling either side.
type relay struct {
	net.Listener
	network *registrytest.Network
	to      string

	mu     sync.Mutex
	conns  []*relayed
	opened int
	// swallowed counts the connections that were written to while deaf.
	swallowed atomic.Int32
}

type relayed struct {
	client, server net.Conn
	deaf, lost     atomic.Bool
}

func newRelay(t testing.TB, n *registrytest.Network, to string) *relay {
	t.Helper()
	l := n.Listen()
	r := &relay{Listener: l, network: n, to: strings.TrimPrefix(to, "http://")}
	go r.serve()
	t.Cleanup(func() {
		_ = l.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.conns {
			_, _ = c.client.Close(), c.server.Close()
		}
	})
	return r
}

func (r *relay) url() string { return "http://" + r.Addr().String() }

func (r *relay) serve() {
	for {
		client, err := r.Accept()
		if err != nil {
			return
		}
		server, err := r.network.Dial(context.Background(), "tcp", r.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		c := &relayed{client: client, server: server}
		r.mu.Lock()
		r.conns, r.opened = append(r.conns, c), r.opened+1
		r.mu.Unlock()
		go r.pass(c, server, client)
		go r.pass(c, client, server)
	}
}

func (r *relay) pass(c *relayed, to, from net.Conn) {
	p := make([]byte, 32<<10)
	for {
		n, err := from.Read(p)
		switch {
		case c.deaf.Load():
			if n > 0 && c.lost.CompareAndSwap(false, true) {
				r.swallowed.Add(1)
			}
		case n > 0:
			_, _ = to.Write(p[:n])
		}
		if err != nil {
			if !c.deaf.Load() {
				_ = to.Close()
			}
			return
		}
	}
}

// deafen drops all connections that there are, and returns how many.
func (r *relay) deafen() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.deaf.Store(true)
	}
	return len(r.conns)
}

func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

func TestDeafConnection(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(context.Context, *Client, registrytest.Image) error{
		"head manifest": func(ctx context.Context, c *Client, i registrytest.Image) error {
			return second(headManifest(ctx, c, repo, tag(i.Tag)))
		},
		"manifest": func(ctx context.Context, c *Client, i registrytest.Image) error {
			return second(c.Manifest(ctx, repo, tag(i.Tag)))
		},
		"head blob": func(ctx context.Context, c *Client, i registrytest.Image) error {
			return second(c.HeadBlob(ctx, repo, i.Platforms[0].Layers[0].Digest))
		},
		"blob": func(ctx context.Context, c *Client, i registrytest.Image) error {
			layer := i.Platforms[0].Layers[0]
			b, err := c.Blob(ctx, repo, layer.Digest, 10, -1)
			if err != nil {
				return err
			}
			defer b.Close()
			if n, err := io.Copy(io.Discard, b); err != nil || n != layer.Size-10 {
				return errors.Join(err, io.ErrShortBuffer)
			}
			return nil
		},
		"tags": func(ctx context.Context, c *Client, _ registrytest.Image) error {
			return second(c.Tags(ctx, repo, oci.TagsCursor{}))
		},
		"referrers": func(ctx context.Context, c *Client, i registrytest.Image) error {
			return second(c.Referrers(ctx, repo, i.Index.Digest))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, n *registrytest.Network) {
				s, image := newServer(t, registrytest.Options{Network: n})
				r := newRelay(t, n, s.URL())
				var timeouts, good atomic.Int32
				c := newClientIn(t, n, r.url(), func(o *Options) {
					o.Timeouts.Header = time.Minute
					o.Observe = func(ob wire.Observation) {
						switch ob.Class {
						case oci.ClassTimeout:
							timeouts.Add(1)
						case oci.ClassNone:
							good.Add(1)
						}
					}
				})
				if err := do(t.Context(), c, image); err != nil {
					t.Fatal(err)
				}
				before := s.Count("", "")
				if got := r.deafen(); got != 1 {
					t.Fatalf("%d connections", got)
				}
				good.Store(0)
				if err := do(t.Context(), c, image); err != nil {
					t.Errorf("after the connection was dropped: %v", err)
				}
				if got := s.Count("", "") - before; got != 1 {
					t.Errorf("%d requests reached the registry, want 1", got)
				}
				if timeouts.Load() != 1 || good.Load() != 1 || r.connections() != 2 {
					t.Errorf("observed %d timeouts and %d answers on %d connections", timeouts.Load(), good.Load(), r.connections())
				}
			})
		})
	}
}

// All idle connections are dropped at once, so one of them is found out, not
// one after the other.
func TestManyDeafConnections(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		r := newRelay(t, n, s.URL())
		c := newClientIn(t, n, r.url())
		get := func() {
			if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Error(err)
			}
		}
		get()
		const many = 5
		var together, wg sync.WaitGroup
		together.Add(many)
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			together.Done()
			together.Wait()
			next(w, r)
		})
		for range many {
			wg.Go(get)
		}
		wg.Wait()
		s.Hook(nil)
		if got := r.deafen(); got != many {
			t.Fatalf("%d connections, want %d", got, many)
		}
		for range many {
			get()
		}
		if got := r.swallowed.Load(); got != 1 {
			t.Errorf("%d requests were sent to connections that were dropped, want 1", got)
		}
		if got := r.connections(); got != many+1 {
			t.Errorf("%d new connections, want 1", got-many)
		}
	})
}

func TestDeafConnectionToACDN(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s := registrytest.New(t, registrytest.Options{Network: n, CDN: true})
		d := s.PutBlob(repo, registrytest.Random(3, 1000))
		r := newRelay(t, n, s.CDNURL())
		registry := scriptIn(t, n, func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, r.url()+q.URL.Path+"?signature=secret", http.StatusTemporaryRedirect)
		})
		c := newClientIn(t, n, registry.URL)
		for i := 1; i <= 2; i++ {
			b, err := c.Blob(t.Context(), repo, d, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, b); err != nil {
				t.Error(err)
			}
			_ = b.Close()
			if got := s.CountHost(registrytest.HostCDN, "", ""); got != i {
				t.Errorf("%d requests for %d blobs", got, i)
			}
			r.deafen()
		}
	})
}

// A registry may take its time: the request is sent once more, the first one is
// given up, and the second one is not hurried.
func TestSlowAnswerOnAReusedConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		var asked atomic.Int32
		gone := make(chan struct{})
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			switch asked.Add(1) {
			case 2:
				<-r.Context().Done()
				close(gone)
				return
			case 3:
				<-gone
				<-time.After(200 * time.Millisecond) // longer than a reused connection may take
			}
			next(w, r)
		})
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Reused = 50 * time.Millisecond })
		for range 2 {
			if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Count("", ""); got != 3 {
			t.Errorf("%d requests, want 3", got)
		}
	})
}

// On a new connection nothing is sent twice, however slow it is.
func TestSlowAnswerOnANewConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			<-time.After(50 * time.Millisecond)
			next(w, r)
		})
		c := newClientIn(t, n, s.URL(), func(o *Options) { o.Timeouts.Reused = 5 * time.Millisecond })
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
		if got := s.Count("", ""); got != 1 {
			t.Errorf("%d requests, want 1", got)
		}
	})
}

func TestTimeToAskAgain(t *testing.T) {
	t.Parallel()
	got := Timeouts{}.WithDefaults()
	if got.Operation < 4*got.Reused || got.Token < 2*got.Reused {
		t.Errorf("a request on a deaf connection leaves too little time for the next: %+v", got)
	}
	if got.Operation >= 10*time.Second {
		t.Errorf("operation = %s, but clients are to have an answer within 10 s", got.Operation)
	}
	if got := (Timeouts{Header: 30 * time.Second}).WithDefaults(); got.Operation < got.Header+got.Reused {
		t.Errorf("operation = %s, which cuts off the header's %s", got.Operation, got.Header)
	}
	if got := (Timeouts{Header: time.Second}).WithDefaults(); got.Reused != time.Second/2 {
		t.Errorf("reused = %s", got.Reused)
	}
}

// Where a body stopped, the connections beside it are not trusted either.
func TestBodyStopsOnADeafConnection(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, n *registrytest.Network) {
		s, image := newServer(t, registrytest.Options{Network: n})
		d := s.PutBlob(repo, registrytest.Random(9, 300_000))
		r := newRelay(t, n, s.URL())
		c := newClientIn(t, n, r.url(), func(o *Options) { o.Timeouts.Idle = 100 * time.Millisecond })
		gone := make(chan struct{})
		s.Hook(func(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
			if strings.Contains(r.URL.Path, "/blobs/") {
				w = &interrupted{w, 1000, func() { <-r.Context().Done(); close(gone) }}
			}
			next(w, r)
		})
		b, err := c.Blob(t.Context(), repo, d, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil { // leaves an idle connection
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, b)
		wantClass(t, err, oci.ClassTimeout)
		<-gone // before Close
		s.Hook(nil)
		if got := r.deafen(); got != 2 {
			t.Fatalf("%d connections", got)
		}
		if _, err := c.Manifest(t.Context(), repo, tag(image.Tag)); err != nil {
			t.Fatal(err)
		}
		if got := r.swallowed.Load(); got != 0 {
			t.Errorf("%d requests were sent to connections that were dropped", got)
		}
	})
}
