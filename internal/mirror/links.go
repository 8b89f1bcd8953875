package mirror

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// proof is how a scope comes to bytes that others have brought in.
type proof int

const (
	// proofWhole is to deliver them once more: nobody has shown anything that this upstream
	// may build upon. It behaves as on an empty cache.
	proofWhole proof = iota
	// proofHead is that the upstream says so: it has delivered them itself, for another
	// repository.
	proofHead
	// proofSamples is that the upstream shows that it possesses them.
	proofSamples
)

// links are what belongs to a scope, and what shows that. A store that fails is one that
// knows nothing: then the upstream has to confirm what is asked for.
type links struct {
	records *lenientStore
	scope   oci.Scope
	isolate bool // no other upstream may build upon what this one has shown
}

// linked returns the link of a digest.
func (l links) linked(ctx context.Context, d digest.Digest) storage.Link {
	link, err := l.records.Linked(ctx, l.scope, d)
	if err != nil {
		l.records.readFailed("read link", l.scope, d.String(), err)
		return storage.Link{Size: -1}
	}
	return link
}

// origins returns who has shown to have a digest.
func (l links) origins(ctx context.Context, d digest.Digest) storage.Origins {
	o, err := l.records.Origins(ctx, l.scope, d)
	l.records.readFailed("read origins", l.scope, d.String(), err)
	return o
}

// proof returns how the scope, which has no proof, comes to what is stored.
func (l links) proof(ctx context.Context, d digest.Digest) proof {
	switch o := l.origins(ctx, d); {
	case o.Own:
		return proofHead
	case o.Open:
		return proofSamples
	}
	return proofWhole
}

// proven records that the upstream has shown to have content: its bytes were verified,
// or compared with those that were.
func (l links) proven(ctx context.Context, d oci.Descriptor) {
	if l.isolate {
		l.put(l.records.Link(ctx, l.scope, d))
	} else {
		l.put(l.records.LinkOpen(ctx, l.scope, d))
	}
}

// resize corrects the size that a link tells.
func (l links) resize(ctx context.Context, d oci.Descriptor) {
	l.put(l.records.Resize(ctx, l.scope, d))
}

// refuted records that the upstream does not have, or give, what it had.
func (l links) refuted(ctx context.Context, d digest.Digest) {
	l.put(l.records.Refute(ctx, l.scope, d))
}

// said records what the upstream says that it has. That shows something only where it
// has delivered the bytes itself, for whichever repository.
func (l links) said(ctx context.Context, d oci.Descriptor) (proven bool) {
	if proven = l.origins(ctx, d.Digest).Own; proven {
		l.proven(ctx, d)
	} else {
		l.put(l.records.Claim(ctx, l.scope, d))
	}
	return proven
}

func (l links) put(err error) {
	if err != nil {
		l.records.failed("link not stored", err, "scope", l.scope.String())
	}
}
