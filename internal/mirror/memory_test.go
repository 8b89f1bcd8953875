package mirror_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/fill"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/storage"
)

// memory is a store in memory: what a Cache needs of one, and no more.
type memory struct {
	now func() time.Time

	mu        sync.Mutex
	tags      map[scoped]storage.Tag
	manifests map[digest.Digest]oci.Manifest
	links     map[scoped]storage.Link
	origins   map[scoped]bool // by the digest and an upstream: whether others may build upon it
	referrers map[scoped]storage.Referrers
	pinned    map[string]bool // by tag
	blobs     map[digest.Digest][]byte
	parts     map[scoped]*memoryPart // by the digest and an upstream
}

// scoped is a tag or a digest of a scope, or of an upstream.
type scoped struct {
	oci.Scope

	name string
}

func newMemory(now func() time.Time) *memory {
	return &memory{
		now: now, tags: map[scoped]storage.Tag{}, manifests: map[digest.Digest]oci.Manifest{}, links: map[scoped]storage.Link{},
		origins: map[scoped]bool{}, referrers: map[scoped]storage.Referrers{}, pinned: map[string]bool{},
		blobs: map[digest.Digest][]byte{}, parts: map[scoped]*memoryPart{},
	}
}

func ofUpstream(s oci.Scope, d digest.Digest) scoped {
	return scoped{oci.Scope{Upstream: s.Upstream}, d.String()}
}

// found returns what a map has, or fs.ErrNotExist.
func found[K comparable, V any](ctx context.Context, m *memory, in map[K]V, k K) (V, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := in[k]
	if !ok {
		return v, fs.ErrNotExist
	}
	return v, ctx.Err()
}

// put changes something, unless ctx has ended.
func (m *memory) put(ctx context.Context, change func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() == nil {
		change()
	}
	return ctx.Err()
}

func (m *memory) Tag(ctx context.Context, s oci.Scope, tag string) (storage.Tag, error) {
	return found(ctx, m, m.tags, scoped{s, tag})
}

func (m *memory) PutTag(ctx context.Context, s oci.Scope, tag string, t storage.Tag) error {
	return m.put(ctx, func() {
		m.tags[scoped{s, tag}] = t
		m.link(s, oci.Descriptor{Digest: t.Digest, Size: t.Size}, false, false)
	})
}

func (m *memory) DeleteTag(ctx context.Context, s oci.Scope, tag string) error {
	return m.put(ctx, func() { delete(m.tags, scoped{s, tag}) })
}

func (m *memory) Tags(ctx context.Context, s oci.Scope, after string, n int) (tags []string, err error) {
	err = m.put(ctx, func() {
		for k := range m.tags {
			if k.Scope == s && k.name > after {
				tags = append(tags, k.name)
			}
		}
	})
	slices.Sort(tags)
	if n >= 0 {
		tags = tags[:min(n, len(tags))]
	}
	return tags, err
}

func (m *memory) Pinned(ctx context.Context, _ oci.Scope, tag string) (pinned bool, err error) {
	err = m.put(ctx, func() { pinned = m.pinned[tag] })
	return pinned, err
}

func (m *memory) Manifest(ctx context.Context, d digest.Digest) (oci.Manifest, error) {
	return found(ctx, m, m.manifests, d)
}

func (m *memory) PutManifest(ctx context.Context, s oci.Scope, mf oci.Manifest, children []oci.Descriptor) error {
	return m.putManifest(ctx, s, mf, children, false)
}

func (m *memory) PutOpenManifest(ctx context.Context, s oci.Scope, mf oci.Manifest, children []oci.Descriptor) error {
	return m.putManifest(ctx, s, mf, children, true)
}

func (m *memory) putManifest(ctx context.Context, s oci.Scope, mf oci.Manifest, children []oci.Descriptor, open bool) error {
	return m.put(ctx, func() {
		m.manifests[mf.Digest] = mf
		m.link(s, mf.Descriptor(), true, open)
		for _, d := range children {
			m.link(s, d, false, false)
		}
	})
}

func (m *memory) UseManifest(digest.Digest) {}

func (m *memory) Linked(ctx context.Context, s oci.Scope, d digest.Digest) (storage.Link, error) {
	return found(ctx, m, m.links, scoped{s, d.String()})
}

func (m *memory) Origins(ctx context.Context, s oci.Scope, d digest.Digest) (o storage.Origins, err error) {
	err = m.put(ctx, func() {
		_, o.Own = m.origins[ofUpstream(s, d)]
		for k, open := range m.origins {
			o.Open = o.Open || open && k.name == d.String()
		}
	})
	return o, err
}

func (m *memory) Link(ctx context.Context, s oci.Scope, ds ...oci.Descriptor) error {
	return m.linkAll(ctx, s, ds, true, false)
}

func (m *memory) LinkOpen(ctx context.Context, s oci.Scope, ds ...oci.Descriptor) error {
	return m.linkAll(ctx, s, ds, true, true)
}

func (m *memory) Claim(ctx context.Context, s oci.Scope, ds ...oci.Descriptor) error {
	return m.linkAll(ctx, s, ds, false, false)
}

func (m *memory) linkAll(ctx context.Context, s oci.Scope, ds []oci.Descriptor, proven, open bool) error {
	return m.put(ctx, func() {
		for _, d := range ds {
			m.link(s, d, proven, open)
		}
	})
}

func (m *memory) link(s oci.Scope, d oci.Descriptor, proven, open bool) {
	k := scoped{s, d.Digest.String()}
	old, known := m.links[k]
	l := storage.Link{Size: d.Size, Proven: proven || old.Proven, Proved: old.Proved}
	if known && (d.Size < 0 || old.Proven && !proven && old.Size >= 0) {
		l.Size = old.Size
	}
	if proven {
		l.Proved = m.now()
		m.origins[ofUpstream(s, d.Digest)] = open || m.origins[ofUpstream(s, d.Digest)]
	}
	m.links[k] = l
}

func (m *memory) Resize(ctx context.Context, s oci.Scope, d oci.Descriptor) error {
	return m.amend(ctx, scoped{s, d.Digest.String()}, func(l *storage.Link) { l.Size = d.Size })
}

func (m *memory) Refute(ctx context.Context, s oci.Scope, d digest.Digest) error {
	return m.amend(ctx, scoped{s, d.String()}, func(l *storage.Link) { l.Proven, l.Proved = false, time.Time{} })
}

func (m *memory) amend(ctx context.Context, k scoped, change func(*storage.Link)) error {
	return m.put(ctx, func() {
		if l, ok := m.links[k]; ok {
			change(&l)
			m.links[k] = l
		}
	})
}

func (m *memory) Referrers(ctx context.Context, s oci.Scope, d digest.Digest) (storage.Referrers, error) {
	return found(ctx, m, m.referrers, scoped{s, d.String()})
}

func (m *memory) PutReferrers(ctx context.Context, s oci.Scope, d digest.Digest, r storage.Referrers) error {
	return m.put(ctx, func() { m.referrers[scoped{s, d.String()}] = r })
}

func (m *memory) ServeBlob(ctx context.Context, d digest.Digest) (storage.Served, int64, error) {
	b, err := found(ctx, m, m.blobs, d)
	if err != nil {
		return storage.Served{}, 0, err
	}
	return storage.Served{ReadSeekCloser: openBytes{bytes.NewReader(b)}}, int64(len(b)), nil
}

type openBytes struct{ *bytes.Reader }

func (openBytes) Close() error { return nil }

func (m *memory) HasBlob(ctx context.Context, d digest.Digest) (trusted bool, err error) {
	_, err = found(ctx, m, m.blobs, d)
	return err == nil, err
}

func (m *memory) StatBlob(ctx context.Context, d digest.Digest) (int64, error) {
	b, err := found(ctx, m, m.blobs, d)
	return int64(len(b)), err
}

func (m *memory) BlobSize(ctx context.Context, d digest.Digest) (int64, error) {
	return m.StatBlob(ctx, d)
}

func (m *memory) VerifyBlob(ctx context.Context, d digest.Digest) error {
	b, err := found(ctx, m, m.blobs, d)
	if err == nil && digest.FromBytes(b) != d {
		err = fs.ErrNotExist
	}
	return err
}

func (m *memory) Suspended(_ context.Context, s oci.Scope, d digest.Digest) (size int64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.parts[ofUpstream(s, d)]; p != nil && p.suspended {
		return p.size, true
	}
	return -1, false
}

func (m *memory) Begin(ctx context.Context, s oci.Scope, d digest.Digest, size int64) (fill.Part, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := ofUpstream(s, d)
	p := m.parts[k]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case p != nil && !p.suspended:
		return nil, fs.ErrExist
	case p == nil || size >= 0 && p.size >= 0 && p.size != size:
		p = &memoryPart{m: m, key: k, digest: d}
	}
	p.size, p.suspended, m.parts[k] = size, false, p
	return p, nil
}

// memoryPart is the part of a fill.
type memoryPart struct {
	m         *memory
	key       scoped
	digest    digest.Digest
	size      int64
	covered   oci.Extents
	b         []byte
	suspended bool
}

func (p *memoryPart) ReadAt(b []byte, off int64) (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	return bytes.NewReader(p.b).ReadAt(b, off)
}

func (p *memoryPart) WriteAt(b []byte, off int64) (int, error) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	if more := off + int64(len(b)) - int64(len(p.b)); more > 0 {
		p.b = append(p.b, make([]byte, more)...)
	}
	return copy(p.b[off:], b), nil
}

func (p *memoryPart) Covered() oci.Extents      { return p.covered }
func (p *memoryPart) Reopen() (*os.File, error) { return nil, fs.ErrInvalid }
func (p *memoryPart) Close() error              { return nil }

func (p *memoryPart) Publish(size int64) {
	p.m.mu.Lock()
	defer p.m.mu.Unlock()
	p.m.blobs[p.digest] = p.b[:size:size]
}

func (p *memoryPart) Commit(size int64) error {
	p.Publish(size)
	return p.Remove()
}

func (p *memoryPart) Suspend(covered oci.Extents) error {
	return p.m.put(context.Background(), func() { p.covered, p.suspended = covered, true })
}

func (p *memoryPart) Remove() error {
	return p.m.put(context.Background(), func() { delete(p.m.parts, p.key) })
}
