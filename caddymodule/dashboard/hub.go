package dashboard

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/operate"
)

const (
	// tickEvery is how often there is a snapshot while anybody listens.
	tickEvery = time.Second
	// maxListeners is how many may listen.
	maxListeners = 256
)

// hub makes snapshots for all who listen, and none while nobody does. Who does not keep
// up misses some: only the newest waits for him.
type hub struct {
	ctx     context.Context // ends with the configuration
	take    func(context.Context) (*snapshot, error)
	allowed allowed

	mu        sync.Mutex
	listeners map[*listener]struct{}
	ticking   bool

	came chan struct{} // somebody has come, who has to wait no tick
}

// listener is an open page, or a browser with several.
type listener struct {
	user string
	news chan []byte // of one: what is newest
	last []byte      // what he was sent last; only the ticking goroutine has it
}

func newHub(ctx context.Context, g *operate.Local, may allowed) *hub {
	return &hub{
		ctx: ctx, allowed: may, listeners: map[*listener]struct{}{}, came: make(chan struct{}, 1),
		take: func(ctx context.Context) (*snapshot, error) { return takeSnapshot(ctx, g) },
	}
}

// listen returns a listener who gets what a user sees, from now on; nil = too many do
// already. He has to leave.
func (h *hub) listen(user string) *listener {
	l := &listener{user: user, news: make(chan []byte, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.listeners) >= maxListeners {
		return nil
	}
	h.listeners[l] = struct{}{}
	if !h.ticking {
		h.ticking = true
		go h.run()
	}
	select {
	case h.came <- struct{}{}:
	default:
	}
	return l
}

func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.listeners, l)
}

// run ticks until nobody listens any more.
func (h *hub) run() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		listeners := h.present()
		if len(listeners) == 0 {
			return
		}
		h.tick(listeners)
		select {
		case <-ticker.C:
		case <-h.came:
		case <-h.ctx.Done():
		}
	}
}

// present returns who listens. If nobody does, the ticking ends.
func (h *hub) present() (all []*listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		all = append(all, l)
	}
	if len(all) == 0 || h.ctx.Err() != nil {
		h.ticking = false
		return nil
	}
	return all
}

// tick sends a snapshot to those for whom something has changed. It is made once, and
// written once for all who see the same.
func (h *hub) tick(listeners []*listener) {
	s, err := h.take(h.ctx)
	if err != nil {
		return // the page says for how long it has heard nothing
	}
	audiences, encoded := map[string]*audience{}, map[string][]byte{}
	for _, l := range listeners {
		a := audiences[l.user]
		if a == nil {
			a = h.allowed.audience(s.sites, l.user)
			audiences[l.user] = a
		}
		if encoded[a.key] == nil {
			encoded[a.key] = s.view(a).encode()
		}
		if news := encoded[a.key]; !bytes.Equal(news, l.last) {
			l.last = news
			l.offer(news)
		}
	}
}

// offer puts the news in place of what is still there.
func (l *listener) offer(news []byte) {
	for {
		select {
		case l.news <- news:
			return
		default:
		}
		select {
		case <-l.news:
		default:
		}
	}
}
