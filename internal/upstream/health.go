package upstream

import (
	"sync"
	"time"

	"github.com/pullgate/pullgate/internal/upstream/internal/wire"
)

// health remembers how the tries at one URL have ended, for people. What is the trouble
// of one repository says nothing of the upstream until another one has it, too. The zero
// value is well. Safe for concurrent use.
type health struct {
	mu         sync.Mutex
	complaints map[Condition]*complaint
	// good is the repository that has got an answer last, at goodAt; since is when the
	// last complaint ended.
	good          string
	goodAt, since time.Time
	// took is how long answers took lately, smoothed.
	took  time.Duration
	limit *RateLimit
}

// complaint is a condition that tries have ended in.
type complaint struct {
	repository  string // that had it last
	since, last time.Time
	whole       bool // it speaks for the upstream
	login       bool // the registry itself refused who we are
	text        string
}

const (
	// slowAfter is how long answers take on average where an upstream is called slow:
	// clients wait through several of them for each image.
	slowAfter = 3 * time.Second
	// oldAfter is after how long without another one a complaint is no news any more, of
	// those that may have ended with nobody there to see it.
	oldAfter = time.Hour
	// tookShare is the share of one answer in the average.
	tookShare = 4
)

// answered notes that a try for a repository has ended after a while; f is what went
// wrong, nil = nothing.
func (h *health) answered(of kind, repository string, f *wire.Failure, now time.Time, took time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f != nil {
		if c, whole := conditionOf(f); c != OK {
			h.complain(c, repository, f.Text, whole, now)
			return
		}
		if f.IsNeutral() {
			return
		}
	}
	for c, of := range h.complaints {
		// Registries that refuse credentials answer to grants that are older.
		if c != Refused && c != Denied || of.repository == repository || now.Sub(of.last) > goodFor {
			h.end(c, now)
		} else if c == Denied || of.login {
			of.whole = false
		}
	}
	h.good, h.goodAt = repository, now
	if of == blobs { // some registries fetch them as a whole before they answer
		return
	}
	h.took += (took - h.took) / tookShare
}

func (h *health) complain(c Condition, repository, text string, whole bool, now time.Time) {
	login := c == Refused && !whole
	if c == Denied || login {
		h.end(Failing, now) // it has answered
		h.end(Slow, now)
		h.end(Certificate, now)
		h.end(Unresolved, now)
	}
	known := h.complaints[c]
	if known == nil {
		if h.complaints == nil {
			h.complaints = map[Condition]*complaint{}
		}
		known = &complaint{repository: repository, since: now}
		h.complaints[c] = known
		// Where nobody else got an answer, there is nobody to say that it is this one's.
		another := h.good != "" && h.good != repository && now.Sub(h.goodAt) < goodFor
		whole = whole || c != Denied && !another
	}
	known.whole = known.whole || whole || known.repository != repository
	known.repository, known.last, known.login, known.text = repository, now, login, text
}

func (h *health) end(c Condition, now time.Time) {
	if _, ok := h.complaints[c]; ok {
		delete(h.complaints, c)
		h.since = now
	}
}

// heed notes what the registry tells of its rate limit.
func (h *health) heed(l RateLimit) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.limit = &l
}

// state is the worst complaint that speaks for the upstream.
func (h *health) state(now time.Time) State {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := State{Condition: OK, Since: h.since, Limit: h.limit}
	if h.took > slowAfter && now.Sub(h.goodAt) < oldAfter {
		s.Condition, s.Since = Slow, h.goodAt
		s.Error = "answers take " + h.took.Round(100*time.Millisecond).String() + " on average"
	}
	for c, of := range h.complaints {
		old := now.Sub(of.last) > oldAfter && c.Level() <= Denied.Level()
		if of.whole && !old && c.Level() > s.Condition.Level() {
			s.Condition, s.Since, s.Error = c, of.since, of.text
		}
	}
	return s
}
