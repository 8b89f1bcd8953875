package peers

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// Options make a Group. Peers and Secret are required.
type Options struct {
	// Peers are where the gateways of the fleet listen: addresses, and DNS names of any
	// number of them, with their ports. This gateway may be among them.
	Peers []string
	// Secret is what all of them share; see CheckSecret.
	Secret string
	// Enter lets a request of another gateway in, to what this one has of the upstream with
	// an identity. ok is false where it has none. nil = it has nothing.
	Enter func(identity string) (served Served, ok bool)
	// Current reports whether what this gateway answers about a digest of a scope, or, if
	// that is empty, about its tags, is newer than a purge; nil = never.
	Current func(ctx context.Context, scope oci.Scope, d digest.Digest, purge string) bool
	// Version is what others are told that runs here.
	Version string
	// Draining reports whether this gateway is about to end; nil = never.
	Draining func() bool
	// Logger gets who joins and who is lost; nil = discard.
	Logger *slog.Logger
	// Panicked is called when a goroutine panics, which ends that one. nil = only the log
	// tells.
	Panicked func()
	// Every is how often another gateway is asked whether it lives: it is lost after three
	// answers that it misses. Default 1 s.
	Every time.Duration
	// Patience is how long an answer about a manifest or a size may take. Default 5 s.
	Patience time.Duration
	// Dial connects, and LookUp finds the addresses of a name; nil = as the system does.
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	LookUp func(ctx context.Context, host string) ([]string, error)
}

const (
	dialTimeout   = 2 * time.Second
	idleTimeout   = 2 * time.Minute
	headerTimeout = 10 * time.Second
	maxHeader     = 16 << 10
	maxIdle       = 64 // connections to one member that are kept
)

// Group is one gateway's part in a fleet. It lives from Start to Close. All methods are
// safe for concurrent use.
type Group struct {
	o         Options
	id        string
	members   *members
	names     names
	key       *credentials
	transport *http.Transport
	server    *http.Server
	counts    counts
	refused   atomic.Int64 // when it was last said that a connection was, in nanoseconds
	unfound   atomic.Pointer[error]

	ctx     context.Context // ends with it
	end     context.CancelFunc
	running sync.WaitGroup
}

// counts are requests to other gateways and from them, and the bytes of blobs and manifests.
type counts struct{ asked, failed, received, answered, sent atomic.Int64 }

// New returns a Group that neither listens nor asks yet.
func New(o Options) (*Group, error) {
	key, err := newCredentials(o.Secret)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Panicked == nil {
		o.Panicked = func() {}
	}
	if o.Draining == nil {
		o.Draining = func() bool { return false }
	}
	if o.Enter == nil {
		o.Enter = func(string) (Served, bool) { return Served{}, false }
	}
	if o.Current == nil {
		o.Current = func(context.Context, oci.Scope, digest.Digest, string) bool { return false }
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: dialTimeout}).DialContext
	}
	if o.LookUp == nil {
		o.LookUp = net.DefaultResolver.LookupHost
	}
	o.Every, o.Patience = cmp.Or(o.Every, askEvery), cmp.Or(o.Patience, answerPatience)
	g := &Group{o: o, id: newID(), key: key, names: names{lookUp: o.LookUp, log: o.Logger, found: map[string][]string{}}}
	g.members = newMembers(g.id, o.Every, g.greet, o.Logger)
	g.ctx, g.end = context.WithCancel(context.Background())
	g.transport = &http.Transport{
		DialContext: o.Dial, TLSClientConfig: key.config(func() {}), TLSHandshakeTimeout: headerTimeout,
		DisableCompression: true, MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: idleTimeout / 2,
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}, // a connection for each stream
	}
	g.server = &http.Server{
		Handler: http.HandlerFunc(g.answer), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	return g, nil
}

// newID returns the id of a new instance.
func newID() string {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	return hex.EncodeToString(raw[:])
}

// Start answers other gateways at a listener, which is closed at the end, and looks for
// them.
func (g *Group) Start(l net.Listener) {
	g.run("listen", func() {
		err := g.server.Serve(tls.NewListener(l, g.key.config(g.refuse)))
		if !errors.Is(err, http.ErrServerClosed) {
			g.o.Logger.Error("other gateways are not answered any more", "error", err)
		}
	})
	g.run("discover", g.discover)
}

// Close cuts all that is under way, and waits for it.
func (g *Group) Close() {
	g.end()
	g.members.close()
	_ = g.server.Close()
	g.running.Wait()
	g.transport.CloseIdleConnections()
}

// ID returns the instance id.
func (g *Group) ID() string { return g.id }

// Before returns the members that live and weigh more than this gateway for a key, the
// heaviest first: whoever is first owns it.
func (g *Group) Before(key string) []*Member { return g.members.before(key) }

// run runs a task in a goroutine that Close waits for.
func (g *Group) run(task string, fn func()) {
	g.running.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				g.o.Panicked()
				g.o.Logger.Error("panicked", "task", task, "panic", p, "stack", string(debug.Stack()))
			}
		}()
		fn()
	})
}

// discover looks for gateways, and has each that it finds watched.
func (g *Group) discover() {
	tick := time.NewTicker(lookUpEvery)
	defer tick.Stop()
	for {
		addresses := g.names.addresses(g.ctx, g.o.Peers)
		unfound := g.names.failed
		g.unfound.Store(&unfound)
		for _, address := range g.members.discover(addresses) {
			g.run("watch", func() { g.members.watch(g.ctx, address) })
		}
		select {
		case <-tick.C:
		case <-g.ctx.Done():
			return
		}
	}
}

// refuse tells, once a minute, that somebody with another secret has come.
func (g *Group) refuse() {
	now, last := time.Now().UnixNano(), g.refused.Load()
	if time.Duration(now-last) >= time.Minute && g.refused.CompareAndSwap(last, now) {
		g.o.Logger.Warn("refused a connection of somebody with another secret")
	}
}
