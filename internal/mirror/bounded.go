package mirror

import "sync"

// bounded remembers something of at most so many keys: what comes then takes the place
// of any other. The zero value is empty. Safe for concurrent use.
type bounded[V any] struct {
	mu     sync.Mutex
	values map[key]V
}

func (m *bounded[V]) put(k key, value V, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values == nil {
		m.values = map[key]V{}
	}
	if _, ok := m.values[k]; !ok && len(m.values) >= most {
		for other := range m.values {
			delete(m.values, other)
			break
		}
	}
	m.values[k] = value
}

func (m *bounded[V]) get(k key) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok = m.values[k]
	return value, ok
}

// take returns what is remembered of a key, once.
func (m *bounded[V]) take(k key) (value V, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok = m.values[k]
	delete(m.values, k)
	return value, ok
}
