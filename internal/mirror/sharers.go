package mirror

import (
	"context"
	"sync"

	"github.com/pullgate/pullgate/internal/oci"
)

// sharer is a scope that follows the fill of another one of the same upstream.
type sharer struct {
	view

	known bool // it was proven before
}

// record records what a verified fill shows for the scope.
func (s sharer) record(ctx context.Context, d oci.Descriptor) {
	if s.known {
		s.resize(ctx, d)
		return
	}
	s.proven(ctx, d)
}

// sharers are the scopes that follow a fill beside the one that it is of. The upstream
// has confirmed that it has the blob for these, too: once its bytes are verified, they
// are proven. The zero value is empty. Safe for concurrent use.
type sharers struct {
	mu      sync.Mutex
	right   *oci.Descriptor // the verified blob
	byScope map[oci.Scope]sharer
}

// add notes that a scope follows the fill.
func (m *sharers) add(s sharer) {
	m.mu.Lock()
	right := m.right
	if _, ok := m.byScope[s.scope]; right == nil && !ok {
		if m.byScope == nil {
			m.byScope = map[oci.Scope]sharer{}
		}
		m.byScope[s.scope] = s
	}
	m.mu.Unlock()
	if right != nil {
		s.record(s.ctx, *right)
	}
}

func (m *sharers) has(s oci.Scope) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.byScope[s]
	return ok
}

// prove records, once the bytes are verified, whose they are.
func (m *sharers) prove(ctx context.Context, d oci.Descriptor) {
	m.mu.Lock()
	m.right = &d
	m.mu.Unlock()
	for _, s := range m.byScope { // add changes it no more
		s.record(ctx, d)
	}
}
