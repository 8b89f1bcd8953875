package peers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// askEvery is how often a member is asked whether it lives, and how long it has for the
	// answer, unless Options say otherwise; maxMisses is how many answers in a row it misses
	// until it is lost.
	askEvery  = time.Second
	maxMisses = 3
	// lookUpEvery is how often names are looked up.
	lookUpEvery = 5 * time.Second
)

// Member is another gateway of the fleet.
type Member struct {
	id, address string
	since       time.Time
	lost        context.Context // ends once it is lost
	lose        context.CancelFunc
}

// ID returns the instance id.
func (m *Member) ID() string { return m.id }

// Lost is closed once the member does not live any more.
func (m *Member) Lost() <-chan struct{} { return m.lost.Done() }

// greeting is what an address answers.
type greeting struct {
	id       string
	draining bool // it is about to end
	version  string
	// ahead is by how much its clock is ahead of this one's; zero = not as far as is known.
	ahead time.Duration
}

// members are the others of a fleet, as one gateway sees them. Safe for concurrent use.
type members struct {
	self  string
	every time.Duration
	ask   func(ctx context.Context, address string) (greeting, error)
	log   *slog.Logger

	mu     sync.Mutex
	places map[string]*place
	// alive are the members that are asked. It is replaced, never changed.
	alive []*Member
}

// place is an address at which a gateway may listen.
type place struct {
	named    bool // it is configured, or DNS still names it
	misses   int
	err      error // why there was no answer
	self     bool  // this gateway listens there itself
	draining bool
	member   *Member // nil = nobody lives there, or one that has another address
	told     greeting
	// missed is when the first answer in a row was missed, and failed when the last one was,
	// for which failure is the reason.
	missed, failed time.Time
	failure        error
}

func newMembers(self string, every time.Duration, ask func(context.Context, string) (greeting, error), log *slog.Logger) *members {
	return &members{self: self, every: every, ask: ask, log: log, places: map[string]*place{}}
}

// before returns the members that weigh more than this gateway, the heaviest first.
func (m *members) before(key string) []*Member {
	m.mu.Lock()
	alive := m.alive
	m.mu.Unlock()
	return before(m.self, key, alive)
}

// discover makes the addresses places, and returns those that are new. Places that are
// named no more stay as long as somebody lives there.
func (m *members) discover(addresses []string) (added []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.places {
		p.named = false
	}
	for _, address := range addresses {
		p := m.places[address]
		if p == nil {
			p = new(place)
			m.places[address] = p
			added = append(added, address)
		}
		p.named = true
	}
	return added
}

// watch asks an address until ctx ends, or nobody lives there and nothing names it.
func (m *members) watch(ctx context.Context, address string) {
	tick := time.NewTicker(m.every)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, m.every)
		answer, err := m.ask(asking, address)
		if err != nil && asking.Err() != nil {
			err = fmt.Errorf("%w within %v", errNoAnswer, m.every)
		}
		cancel()
		if ctx.Err() != nil || !m.note(address, answer, err) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// note notes what an address has answered. It reports false once it need not be asked any
// more.
func (m *members) note(address string, answer greeting, err error) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.places[address]
	if p == nil {
		return false // closed
	}
	p.err = err
	if err != nil {
		p.failure, p.failed = err, time.Now()
		if p.misses == 0 {
			p.missed = p.failed
		}
		switch p.misses++; {
		case p.misses < maxMisses:
			return true
		case p.member != nil:
			m.lose(p, err)
		case p.misses == maxMisses:
			m.log.Warn("no gateway answers", "address", address, "error", err)
		}
		p.self = false
		if !p.named {
			delete(m.places, address)
		}
		return p.named
	}
	p.misses, p.self, p.told = 0, answer.id == m.self, answer
	if p.member != nil && p.member.id != answer.id {
		m.lose(p, errSuccessor)
	}
	if p.member == nil && !p.self && !m.has(answer.id) {
		p.member = &Member{id: answer.id, address: address, since: time.Now()}
		p.member.lost, p.member.lose = context.WithCancel(context.Background())
		m.log.Info("a gateway has joined", "member", answer.id, "address", address)
	}
	if p.member != nil && answer.draining && !p.draining {
		m.log.Info("a gateway is about to end", "member", answer.id, "address", address)
	}
	p.draining = answer.draining
	m.list()
	return true
}

var (
	// errSuccessor is why a member is lost whose address another one has.
	errSuccessor = errors.New("another instance answers in its place")
	errNoAnswer  = errors.New("no answer")
)

// lose ends the member of a place. m.mu is held.
func (m *members) lose(p *place, why error) {
	m.log.Warn("a gateway is lost", "member", p.member.id, "address", p.member.address, "error", why)
	p.member.lose()
	p.member, p.draining = nil, false
	m.list()
}

// has reports whether a member has an address already. m.mu is held.
func (m *members) has(id string) bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(m.places)), func(p *place) bool { return p.member != nil && p.member.id == id })
}

// list makes up who is asked. m.mu is held.
func (m *members) list() {
	m.alive = nil
	for _, p := range m.places {
		if p.member != nil && !p.draining {
			m.alive = append(m.alive, p.member)
		}
	}
}

// close loses everybody, without a word.
func (m *members) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.places {
		if p.member != nil {
			p.member.lose()
		}
	}
	clear(m.places)
	m.alive = nil
}
