package peers

import (
	"cmp"
	"slices"
	"time"
)

// Status is how a gateway and the others of its fleet fare.
type Status struct {
	Instance string         `json:"instance"`
	Members  []MemberStatus `json:"members"`
	// Asked are the requests to other gateways, Failed those that were not answered well,
	// and Received the bytes of what came.
	Asked    int64 `json:"asked"`
	Failed   int64 `json:"failed"`
	Received int64 `json:"received_bytes"`
	// Answered are the requests of other gateways, and Sent the bytes of what they got.
	Answered int64 `json:"answered"`
	Sent     int64 `json:"sent_bytes"`
	// LookUpError says why a name is not found at present.
	LookUpError string `json:"look_up_error,omitempty"`
}

// The states of an address.
const (
	StateSelf     = "self"     // it is this gateway's own
	StateAlive    = "alive"    // a gateway lives there, and is asked
	StateDraining = "draining" // one is about to end there
	StateOther    = "other"    // one lives there whose other address is listed
	StateSilent   = "silent"   // it has missed too many answers
	StateUnknown  = "unknown"  // it has not answered yet
)

// MemberStatus is how one address fares.
type MemberStatus struct {
	Address string `json:"address"`
	State   string `json:"state"`
	// Instance is who lives there, Since since when that is known, or since when nobody
	// answers; empty = nobody, or somebody whose other address is listed.
	Instance string    `json:"instance,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Self says that it is this gateway's own address, and Draining that the gateway is
	// about to end.
	Self     bool `json:"self,omitempty"`
	Draining bool `json:"draining,omitempty"`
	// Version is what runs there, and ClockAhead by how many seconds its clock is ahead of
	// this one's; zero = by less than can be known.
	Version    string  `json:"version,omitempty"`
	ClockAhead float64 `json:"clock_ahead_seconds,omitempty"`
	// Share is the part of all keys that it owns.
	Share float64 `json:"share,omitempty"`
	// Error is why there was no answer to the last question.
	Error string `json:"error,omitempty"`
	// LastError is why there was none the last time, LastFailed when that was, and Help what
	// helps.
	LastError  string    `json:"last_error,omitempty"`
	LastFailed time.Time `json:"last_failed,omitzero"`
	Help       string    `json:"help,omitempty"`
}

// Alive counts the members that are asked.
func (s *Status) Alive() (n int) {
	for _, m := range s.Members {
		if m.Instance != "" && !m.Self && !m.Draining {
			n++
		}
	}
	return n
}

// Silent counts the addresses that gave no answer.
func (s *Status) Silent() (n int) {
	for _, m := range s.Members {
		if m.Error != "" {
			n++
		}
	}
	return n
}

// Status returns how the gateways fare.
func (g *Group) Status() *Status {
	s := &Status{
		Instance: g.id, Members: g.members.status(), Asked: g.counts.asked.Load(), Failed: g.counts.failed.Load(),
		Received: g.counts.received.Load(), Answered: g.counts.answered.Load(), Sent: g.counts.sent.Load(),
	}
	if err := g.unfound.Load(); err != nil && *err != nil {
		s.LookUpError = (*err).Error()
	}
	return s
}

func (m *members) status() (all []MemberStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for address, p := range m.places {
		s := p.status(m.self)
		s.Address = address
		if s.State == StateSelf || s.State == StateAlive {
			s.Share = 1 / float64(1+len(m.alive)) // each key has one owner, and no member more than others
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b MemberStatus) int { return cmp.Compare(a.Address, b.Address) })
	return all
}

// status returns how a place fares.
func (p *place) status(self string) MemberStatus {
	s := MemberStatus{State: StateUnknown, Self: p.self, Draining: p.draining}
	switch {
	case p.self:
		s.State, s.Instance = StateSelf, self
	case p.member != nil:
		s.State, s.Instance, s.Since = StateAlive, p.member.id, p.member.since
		s.Version, s.ClockAhead = p.told.version, p.told.ahead.Seconds()
		if p.draining {
			s.State = StateDraining
		}
	case p.misses >= maxMisses:
		s.State, s.Since = StateSilent, p.missed
	case p.told.id != "" && p.err == nil:
		s.State = StateOther
	}
	if p.err != nil {
		s.Error = p.err.Error()
	}
	if p.failure != nil {
		s.LastError, s.LastFailed, s.Help = p.failure.Error(), p.failed, help(p.failure)
	}
	return s
}
