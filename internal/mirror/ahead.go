package mirror

import (
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// servedManifests is how many manifests are remembered to have been served.
const servedManifests = 256

// served remembers the last manifests that clients have got, so that a blob finds
// the image that it belongs to. Who serves one again writes nothing. The zero value
// remembers none. Safe for concurrent use.
type served [servedManifests]atomic.Pointer[servedManifest]

type servedManifest struct {
	scope  oci.Scope
	digest digest.Digest
}

func (s *served) add(scope oci.Scope, d digest.Digest) {
	if len(d) < 2 {
		return
	}
	slot := &s[(int(d[len(d)-1])*31+int(d[len(d)-2]))%servedManifests]
	if m := slot.Load(); m == nil || m.digest != d || m.scope != scope {
		slot.Store(&servedManifest{scope, d})
	}
}

// ahead are the images whose blobs are being pulled ahead of their clients, with
// their blobs.
type ahead struct {
	mu     sync.Mutex
	images map[servedManifest]map[digest.Digest]struct{}
	slots  slots
}

// lookAhead starts the fills of all blobs of the image that d belongs to, a few at
// a time, whether or not a client has asked for them: one asks for three at a time,
// and for all of them in the end. It takes no turns of the client's, and what fails
// is tried again when it is asked for.
func (v view) lookAhead(d digest.Digest) {
	defer v.survive("look ahead")
	// Of an image of very many blobs, the manifest is read once and not for each.
	if v.ahead.has(v.scope, d) {
		return
	}
	image, blobs := v.imageOf(d)
	if len(blobs) < 2 || !v.ahead.begin(image, blobs) {
		return
	}
	defer v.ahead.end(image)
	for _, b := range blobs {
		if b.Digest == d || !v.missing(b) {
			continue
		}
		if v.ahead.slots.enter(v.ctx, v.Identity, v.LookAhead) != nil {
			return
		}
		if !v.fillAhead(b.Digest) {
			v.ahead.slots.leave(v.Identity)
		}
	}
}

// imageOf returns the manifest of the scope that names a blob, among the last that
// were served, and all blobs of it.
func (v view) imageOf(d digest.Digest) (servedManifest, []oci.Descriptor) {
	for k := range v.served {
		m := v.served[k].Load()
		if m == nil || m.scope != v.scope {
			continue
		}
		mf, err := v.store.Manifest(m.digest)
		if err != nil {
			continue
		}
		contents, err := oci.ParseManifest(mf.Bytes)
		if err != nil {
			continue
		}
		for _, b := range contents.Blobs {
			if b.Digest == d {
				return *m, contents.Blobs
			}
		}
	}
	return servedManifest{}, nil
}

// missing reports whether a blob is neither stored nor known not to be had.
func (v view) missing(b oci.Descriptor) bool {
	if _, err := v.store.HasBlob(b.Digest); err == nil {
		return false
	}
	return v.remembered(v.key(kindBlob, b.Digest.String()), false) == nil
}

// fillAhead starts a fill that nobody waits for. Its slot is given back with its
// end. It reports false if there is one already, or there can be none.
func (v view) fillAhead(d digest.Digest) bool {
	link := v.linked(v.scope, d)
	c := v.Cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.fills[d] != nil {
		return false
	}
	if _, err := c.store.HasBlob(d); err == nil {
		return false
	}
	f := newFill(c.ctx, v, d, link)
	f.refs = 1
	c.fills[d] = f
	c.running.Go(func() {
		defer c.ahead.slots.leave(v.Identity)
		f.run()
	})
	return true
}

// has reports whether a blob belongs to an image of the scope that is under way.
func (a *ahead) has(scope oci.Scope, d digest.Digest) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for image, blobs := range a.images {
		if _, ok := blobs[d]; ok && image.scope == scope {
			return true
		}
	}
	return false
}

// begin reports false if the image is under way already.
func (a *ahead) begin(image servedManifest, blobs []oci.Descriptor) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.images[image]; ok {
		return false
	}
	if a.images == nil {
		a.images = map[servedManifest]map[digest.Digest]struct{}{}
	}
	digests := make(map[digest.Digest]struct{}, len(blobs))
	for _, b := range blobs {
		digests[b.Digest] = struct{}{}
	}
	a.images[image] = digests
	return true
}

func (a *ahead) end(image servedManifest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.images, image)
}
