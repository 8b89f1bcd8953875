package fleet

import (
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// begun are the scopes and digests of which it is about to be shown that they belong
// together, and since when: a purge may come meanwhile. The zero value has none. Safe for
// concurrent use.
type begun struct {
	mu    sync.Mutex
	since map[scoped]time.Time
}

// maxBegun bounds what is remembered; any of it leaves for what is new.
const maxBegun = 1 << 14

type scoped struct {
	oci.Scope
	digest digest.Digest
}

// note notes that something begins, unless it has begun before.
func (b *begun) note(scope oci.Scope, d digest.Digest) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := scoped{scope, d}
	if _, ok := b.since[key]; ok {
		return
	}
	if b.since == nil {
		b.since = map[scoped]time.Time{}
	}
	if len(b.since) >= maxBegun {
		for other := range b.since {
			delete(b.since, other)
			break
		}
	}
	b.since[key] = time.Now()
}

// end returns when something began that ends now, if that is known.
func (b *begun) end(scope oci.Scope, d digest.Digest) (since time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := scoped{scope, d}
	since, ok = b.since[key]
	delete(b.since, key)
	return since, ok
}

// before reports whether something is under way that has begun up to a time.
func (b *begun) before(scope oci.Scope, d digest.Digest, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	since, ok := b.since[scoped{scope, d}]
	return ok && !since.After(at)
}

// confirm reports whether what is shown of a digest now is not from before a purge, and
// notes that it was shown after it.
func (d *depot) confirm(scope oci.Scope, of digest.Digest) bool {
	since, running := d.begun.end(scope, of)
	m, ok := d.purges.latest(scope, oci.Reference{Digest: of})
	if !ok {
		return true
	}
	if running && !since.After(m.at) {
		return false
	}
	d.confirmed.Add(proofKey(scope, of)+" "+m.key, confirmedFor)
	return true
}

// confirmTag notes that a tag was told after its purge.
func (d *depot) confirmTag(scope oci.Scope, tag string) {
	if m, ok := d.purges.latest(scope, oci.Reference{Tag: tag}); ok {
		d.confirmed.Add(tagKey(scope, tag)+" "+m.key, confirmedFor)
	}
}

// confirmedFor is how long it is remembered what came after a purge: times are kept to the
// second, and it may have been the same one.
const confirmedFor = 24 * time.Hour

// voided reports whether a proof that is stored is from before a purge.
func (l *purgeLog) voided(scope oci.Scope, of digest.Digest, link storage.Link) bool {
	m, ok := l.latest(scope, oci.Reference{Digest: of})
	return ok && !link.Proved.After(m.at) && !l.depot.confirmed.Has(proofKey(scope, of)+" "+m.key)
}

// outdated reports whether what a tag means was told before it, or that, was purged.
func (d *depot) outdated(scope oci.Scope, tag string, t storage.Tag) bool {
	for _, ref := range []oci.Reference{{Tag: tag}, {Digest: t.Digest}} {
		m, ok := d.purges.latest(scope, ref)
		if ok && !t.Checked.After(m.at) && !d.confirmed.Has(tagKey(scope, tag)+" "+m.key) {
			return true
		}
	}
	return false
}

// covering returns the key of the last purge of a tag or digest; empty = there was none.
func (d *depot) covering(scope oci.Scope, ref oci.Reference) string {
	m, _ := d.purges.latest(scope, ref)
	return m.key
}
