package auth

import (
	"strings"
	"sync"
)

// maxChallenges bounds what is remembered of single repositories: a client can
// name as many as it likes.
const maxChallenges = 4096

// commonMisses is after how many repositories in a row that want another challenge
// the common one is replaced: the registry has moved its token server.
const commonMisses = 3

// challenges remembers what a registry wants to be asked with. Only what has led
// to an answer gets in, so that the refusal of one repository changes nothing for
// another. The zero value remembers nothing. Safe for concurrent use.
type challenges struct {
	mu sync.Mutex
	// common is what most repositories want; nil = nobody has asked yet.
	common *challenge
	misses int
	// own is what repositories want that differ, and, by their first component with
	// a slash, those beside them: Artifactory and GitLab have a realm for each.
	own map[string]challenge
}

// of returns what to ask a repository with. known is false as long as nothing is
// known of the registry at all.
func (m *challenges) of(repository string) (c challenge, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ofLocked(repository)
}

func (m *challenges) ofLocked(repository string) (c challenge, known bool) {
	if c, ok := m.own[repository]; ok {
		return c, true
	}
	if group, ok := groupOf(repository); ok {
		if c, ok := m.own[group]; ok {
			return c, true
		}
	}
	if m.common == nil {
		return challenge{}, false
	}
	return *m.common, true
}

func groupOf(repository string) (group string, ok bool) {
	i := strings.IndexByte(repository, '/')
	return repository[:i+1], i > 0
}

// learn notes with what a repository has given an answer.
func (m *challenges) learn(repository string, c challenge) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, known := m.ofLocked(repository)
	if known && was == c {
		if c == *m.common {
			m.misses = 0
		}
		return
	}
	// A scope that names something is the repository's alone. Of others nothing is
	// known then but that they have to be asked.
	shared := c
	if !c.namesNone() {
		shared = challenge{}
		m.put(repository, c)
	}
	switch {
	case !known:
		m.common = &shared
		return
	case shared == c:
		m.put(repository, c)
		if group, ok := groupOf(repository); ok {
			m.put(group, c)
		}
	}
	if m.misses++; m.misses >= commonMisses {
		m.common, m.misses = &shared, 0
	}
}

func (m *challenges) put(name string, c challenge) {
	if m.own == nil {
		m.own = map[string]challenge{}
	}
	if _, ok := m.own[name]; !ok && len(m.own) >= maxChallenges {
		for other := range m.own { // any: it is asked for again
			delete(m.own, other)
			break
		}
	}
	m.own[name] = c
}
