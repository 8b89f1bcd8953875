package fleet

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// purge is one removal by name, as it lies in the bucket.
type purge struct {
	Selection string `json:"selection"`
	// Digests are what goes with an image: what no other tag of the repository needs.
	Digests []digest.Digest `json:"digests,omitempty"`

	key       string
	selection oci.Selection
	// mine says that whoever has written it removes it here, too.
	mine bool
}

// marks returns all that a purge is about.
func (p purge) marks() []oci.Selection {
	all := make([]oci.Selection, 1, 1+len(p.Digests))
	all[0] = p.selection
	for _, d := range p.Digests {
		all = append(all, oci.Selection{Upstream: p.selection.Upstream, Repository: p.selection.Repository, Reference: oci.Reference{Digest: d}})
	}
	return all
}

// purgeTime returns when a purge was written, by the clock of whoever did that.
func purgeTime(key string) time.Time {
	ms, _, _ := strings.Cut(key, "-")
	n, _ := strconv.ParseInt(ms, 10, 64) // of what is none, it is long ago
	return time.UnixMilli(n)
}

// purgeName returns a key that follows another one, whatever the clock says: of two purges
// of which one has seen the other, that one is the later.
func purgeName(now time.Time, last, random string) string {
	ms := now.UnixMilli()
	if last != "" {
		ms = max(ms, purgeTime(last).UnixMilli()+1)
	}
	return fmtMillis(ms) + "-" + random
}

// fmtMillis makes numbers sort as they count.
func fmtMillis(ms int64) string {
	s := strconv.FormatInt(max(ms, 0), 10)
	return strings.Repeat("0", max(0, 13-len(s))) + s
}

// mark says that what upstreams have said up to a time holds no more.
type mark struct {
	key string // of the last purge
	at  time.Time
}

// maxMarks bounds what is remembered one by one: beyond it, a purged image stands for its
// repository.
const maxMarks = 1 << 17

// purges are those of the last weeks. The zero value has none. Safe for concurrent use.
type purges struct {
	mu   sync.RWMutex
	of   map[oci.Selection]mark
	void time.Time // what was said up to then holds no more, whatever it is about
}

// add adds a purge. What was said before a time is what it means.
func (p *purges) add(one purge, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = map[oci.Selection]mark{}
	}
	all := one.marks()
	if len(p.of)+len(all) > maxMarks {
		all = []oci.Selection{{Upstream: one.selection.Upstream, Repository: one.selection.Repository}}
	}
	for _, s := range all {
		old := p.of[s]
		p.of[s] = mark{max(old.key, one.key), later(old.at, at)}
	}
}

// voidBefore makes everything mean nothing that was said up to a time.
func (p *purges) voidBefore(at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.void = later(p.void, at)
}

// latest returns the mark of a tag or digest of a scope; ok = there is one.
func (p *purges) latest(scope oci.Scope, ref oci.Reference) (m mark, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	m.at, ok = p.void, !p.void.IsZero()
	if len(p.of) == 0 {
		return m, ok
	}
	upstream := oci.UpstreamName(scope.Upstream)
	for _, s := range [...]oci.Selection{
		{Upstream: upstream},
		{Upstream: upstream, Repository: scope.Repository},
		{Upstream: upstream, Repository: scope.Repository, Reference: ref},
	} {
		if one, found := p.of[s]; found {
			m, ok = mark{max(m.key, one.key), later(m.at, one.at)}, true
		}
	}
	return m, ok
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
