package peers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
}

// MemberStatus is how one address fares.
type MemberStatus struct {
	Address string `json:"address"`
	// Instance is who lives there, and Since since when that is known; empty = nobody, or
	// somebody whose other address is listed.
	Instance string    `json:"instance,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	// Self says that it is this gateway's own address, and Draining that the gateway is
	// about to end.
	Self     bool `json:"self,omitempty"`
	Draining bool `json:"draining,omitempty"`
	// Error is why there was no answer to the last question.
	Error string `json:"error,omitempty"`
}

// String tells who lives, and why others do not.
func (s *Status) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d alive", s.Alive())
	for _, m := range s.Members {
		switch {
		case m.Error != "":
			fmt.Fprintf(&b, ", %s SILENT (%s)", m.Address, m.Error)
		case m.Draining && !m.Self:
			fmt.Fprintf(&b, ", %s about to end", m.Address)
		case m.Instance != "" && !m.Self:
			fmt.Fprintf(&b, ", %s", m.Address)
		}
	}
	return b.String()
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
	return &Status{
		Instance: g.id, Members: g.members.status(), Asked: g.counts.asked.Load(), Failed: g.counts.failed.Load(),
		Received: g.counts.received.Load(), Answered: g.counts.answered.Load(), Sent: g.counts.sent.Load(),
	}
}

func (m *members) status() (all []MemberStatus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for address, p := range m.places {
		s := MemberStatus{Address: address, Self: p.self, Draining: p.draining}
		switch {
		case p.self:
			s.Instance = m.self
		case p.member != nil:
			s.Instance, s.Since = p.member.id, p.member.since
		}
		if p.err != nil {
			s.Error = p.err.Error()
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b MemberStatus) int { return cmp.Compare(a.Address, b.Address) })
	return all
}
