package mirror

import "sync"

// maxPromised bounds what is remembered of tags whose manifests nobody has got yet.
const maxPromised = 4096

// namedBy remembers by which tag a manifest is known that the upstream has named,
// but not sent yet: where it cannot be had by its digest, the tag may still lead to
// it. The zero value is empty. Safe for concurrent use.
type namedBy struct {
	mu   sync.Mutex
	tags map[key]string
}

func (m *namedBy) put(k key, tag string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tags == nil {
		m.tags = map[key]string{}
	}
	if _, ok := m.tags[k]; !ok && len(m.tags) >= maxPromised {
		for other := range m.tags {
			delete(m.tags, other)
			break
		}
	}
	m.tags[k] = tag
}

// take returns the tag of a manifest, once.
func (m *namedBy) take(k key) (tag string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tag, ok = m.tags[k]
	delete(m.tags, k)
	return tag, ok
}
