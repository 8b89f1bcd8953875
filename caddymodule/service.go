package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/pullgate/pullgate/caddymodule/config"
	"github.com/pullgate/pullgate/internal/fleet"
	"github.com/pullgate/pullgate/internal/flood"
	"github.com/pullgate/pullgate/internal/mirror"
	"github.com/pullgate/pullgate/internal/registry"
)

// exitPatience is how long is waited, when the process exits, for requests that were
// cut off. After that the store is left as a crash would leave it, which it is made
// for.
const exitPatience = 10 * time.Second

// service is what a Handler answers with: mirror, store and upstream clients.
//
// It is open while somebody is in: the configuration from start to retire, and
// each request. The last one out closes it. Requests that come still later, on
// connections that the old servers had already accepted, open it again for
// themselves.
type service struct {
	app       *appRun
	upstreams []*config.Upstream
	names     map[string]registry.Upstream
	wire      registry.Options // without the Mirror
	log       *slog.Logger
	server    *caddyhttp.Server // that it belongs to; nil in tests

	// in is how many are in, and open is set while any is. The first one in and the
	// last one out hold mu; all others pass without a lock.
	in   atomic.Int64
	open atomic.Pointer[openService]

	mu      sync.Mutex
	started bool          // the configuration is in
	retired bool          // and has left for good
	empty   chan struct{} // closed by the last one out, once retired
	exiting chan struct{} // closed when the process exits: who would stay long leaves
}

type openService struct {
	handler *registry.Handler
	admin   *mirror.Mirror    // the same, for those who may have everything
	peers   *registry.Handler // and for other gateways
	cache   *cache
	clients []*client
	end     context.CancelFunc // cuts off whoever is in
}

var errExiting = errors.New("the server is exiting")

// start lets the configuration in.
func (s *service) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked()
}

func (s *service) startLocked() error {
	if s.started || s.retired {
		return nil
	}
	if err := s.openLocked(); err != nil {
		return err
	}
	s.started = true
	s.in.Add(1)
	s.tellUnserved()
	s.tellGuarded()
	return nil
}

// enter lets a request in, and returns what answers it. Who gets no error has to
// leave.
func (s *service) enter() (*registry.Handler, error) {
	open, err := s.enterOpen()
	if err != nil {
		return nil, err
	}
	return open.handler, nil
}

// enterAdmin lets an operation of the admin API in, as enter does a request. It
// leaves when exiting is closed.
func (s *service) enterAdmin() (*mirror.Mirror, error) {
	open, err := s.enterOpen()
	if err != nil {
		return nil, err
	}
	return open.admin, nil
}

func (s *service) enterOpen() (*openService, error) {
	if s.change(1, 1) {
		return s.open.Load(), nil // which nobody closes before we have left
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// Apps start in any order, so the first request may come before our Start.
	if err := s.startLocked(); err != nil {
		return nil, err
	}
	if s.retired && s.open.Load() == nil && caddy.Exiting() {
		return nil, errExiting
	}
	if err := s.openLocked(); err != nil {
		return nil, err
	}
	s.in.Add(1)
	return s.open.Load(), nil
}

// change changes the number of those who are in, if it is at least the given one.
func (s *service) change(by, least int64) bool {
	for {
		in := s.in.Load()
		if in < least {
			return false
		}
		if s.in.CompareAndSwap(in, in+by) {
			return true
		}
	}
}

// leave lets a request out.
func (s *service) leave() {
	if s.change(-1, 2) {
		return // others stay
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaveLocked()
}

// retire lets the configuration out. If the process exits, it sends everybody away
// and waits for them. Later calls only do that.
func (s *service) retire() {
	s.mu.Lock()
	empty := s.empty
	if !s.retired {
		s.retired = true
		if s.started {
			s.leaveLocked()
		} else if s.in.Load() == 0 {
			close(s.empty)
		}
	}
	s.mu.Unlock()
	if !caddy.Exiting() {
		return
	}
	s.leaveAll()
	select {
	case <-empty:
	case <-time.After(exitPatience):
		s.log.Warn("exiting while requests are still being answered")
	}
}

// leaveAll sends everybody away who is in.
func (s *service) leaveAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.exiting:
	default:
		close(s.exiting)
	}
	if open := s.open.Load(); open != nil {
		open.end()
	}
}

func (s *service) leaveLocked() {
	if s.in.Add(-1) > 0 {
		return
	}
	s.release(s.open.Swap(nil))
	if s.retired {
		select {
		case <-s.empty:
		default:
			close(s.empty)
		}
	}
}

// unavailable answers a request for which enter had an error.
func (s *service) unavailable(w http.ResponseWriter, err error) {
	s.log.Error("cannot answer", "error", err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"errors":[{"code":"UNAVAILABLE","message":"the gateway is not ready"}]}`))
}

func (s *service) openLocked() (err error) {
	if s.open.Load() != nil {
		return nil
	}
	open := &openService{end: func() {}}
	defer func() {
		if err != nil {
			s.release(open)
			return
		}
		s.open.Store(open)
	}()
	if open.cache, err = acquireCache(s.app.path, s.app.limits); err != nil {
		return err
	}
	if s.app.bucket != nil { // nobody is answered before it is known what others have removed
		s.app.adopt(open.cache)
	}
	o := mirror.Options{Logger: slog.New(flood.New(newestLog{}, requestLines))}
	for _, u := range s.upstreams {
		c, err := acquireClient(u)
		if err != nil {
			return err
		}
		open.clients = append(open.clients, c)
		policy, inner := u.Policy(c), mirror.Remote(c)
		if u.Offline {
			policy.Backed, inner = s.app.bucket != nil, nil
		}
		policy.Remote = open.cache.Fleet.Remote(fleet.Upstream{
			Identity: policy.Identity, TagTTL: policy.TagTTL, ProofTTL: policy.ProofTTL, ImmutableTags: policy.ImmutableTags,
		}, inner)
		if s.redirects(u) { // which would bring here what the clients get elsewhere
			policy.LookAhead = 0
		}
		if u.HasSource() { // what it says now need not be what it said to the configuration before
			policy.RemoteID += fmt.Sprintf(" %p", s.app)
		}
		o.Upstreams = append(o.Upstreams, policy)
	}
	m, err := mirror.New(open.cache.Mirror, o)
	if err != nil {
		return err
	}
	for i := range o.Upstreams {
		o.Upstreams[i].Access = mirror.Access{Public: true}
	}
	if open.admin, err = mirror.New(open.cache.Mirror, o); err != nil {
		return err
	}
	wire := s.wire
	wire.Mirror = s.redirecting(m, open.cache)
	wire.Until, open.end = context.WithCancel(context.Background())
	open.handler = registry.New(wire)
	open.peers, err = s.forPeers(wire.Until, open.cache, o)
	return err
}

// release gives back what was opened.
func (s *service) release(open *openService) {
	open.end()
	for _, c := range open.clients {
		if err := releaseClient(c); err != nil {
			s.log.Error("closing upstream client", "upstream", c.name, "error", err)
		}
	}
	if open.cache != nil {
		if err := releaseCache(open.cache); err != nil {
			s.log.Error("closing storage", "path", open.cache.Path, "error", err)
		}
	}
}
