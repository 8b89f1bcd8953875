package mirror

import (
	"context"

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

// share notes that a scope follows the fill. The upstream has confirmed that it has the
// blob for that, too: once its bytes are verified, they are proven.
func (f *fill) share(s sharer) {
	f.mu.Lock()
	right, desc := f.right, oci.Descriptor{Digest: f.digest, Size: f.size}
	if _, ok := f.sharers[s.scope]; !right && !ok {
		if f.sharers == nil {
			f.sharers = map[oci.Scope]sharer{}
		}
		f.sharers[s.scope] = s
	}
	f.mu.Unlock()
	if right {
		s.record(f.ctx, desc)
	}
}

// serves reports whether a scope may follow the fill without another question.
func (f *fill) serves(s oci.Scope) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.sharers[s]
	return ok || f.source.scope == s
}

// prove records, once the bytes are verified, whose they are.
func (f *fill) prove() {
	ctx := context.WithoutCancel(f.ctx) // what was verified counts, also while the Cache closes
	f.mu.Lock()
	f.right = true
	sharers, desc := f.sharers, oci.Descriptor{Digest: f.digest, Size: f.size}
	f.mu.Unlock()
	f.source.proven(ctx, desc)
	for _, s := range sharers {
		s.record(ctx, desc)
	}
}
