// Package known holds in memory what belongs together: which blobs the manifests name
// that were served lately.
package known

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxImages and maxBlobs bound what is known: the images, and the blobs of all.
	maxImages = 256
	maxBlobs  = 32 << 10
	// MaxBlobs bounds the blobs of one image.
	MaxBlobs = 4096
	// freshImage is how long a manifest counts as asked for just now, and askAgain
	// how often one is asked for again for the sake of its blobs.
	freshImage = 10 * time.Second
	askAgain   = time.Minute
)

// Images are the manifests that clients have got lately, with the digests of their
// blobs: each is read once, and a blob finds the image that it belongs to. The zero
// value knows none. Safe for concurrent use.
type Images struct {
	// recent spares who serves one again the lock.
	recent [maxImages]atomic.Pointer[Key]

	mu    sync.Mutex
	known map[Key]*list.Element
	order list.List // of *Image, the oldest first
	blobs int
	seq   uint64 // counts what the upstreams have sent
}

// Key names a manifest.
type Key struct {
	Scope  oci.Scope
	Digest digest.Digest
}

// Image is one of Images.
type Image struct {
	Key
	blobs []Blob
	// Fetched is when the upstream has sent the manifest last, and fetchedSeq its place
	// in the order of things; asked is when it was asked to for the sake of a blob.
	fetched, asked time.Time
	fetchedSeq     uint64
	asking         bool      // it is being asked to
	ahead          bool      // its blobs are being pulled ahead
	rest           time.Time // until then, they are not begun to be
}

// Blob is what an image names.
type Blob struct {
	Digest digest.Digest
	Size   int64 // -1 = unknown
	config bool
}

func (s *Images) slot(k Key) *atomic.Pointer[Key] {
	d := k.Digest
	if len(d) < 2 {
		return &s.recent[0]
	}
	return &s.recent[(int(d[len(d)-1])*31+int(d[len(d)-2]))%maxImages]
}

// Served notes a manifest that a client has got.
func (s *Images) Served(scope oci.Scope, mf oci.Manifest) {
	k := Key{scope, mf.Digest}
	if at := s.slot(k).Load(); at != nil && *at == k || s.has(k) {
		return
	}
	if contents, err := oci.ParseManifest(mf.Bytes); err == nil {
		s.Add(k, contents)
	}
}

// has reports whether it is known what a manifest names: another one may have its slot.
func (s *Images) has(k Key) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[k]
	if e == nil || len(e.Value.(*Image).blobs) == 0 {
		return false
	}
	s.order.MoveToBack(e)
	s.slot(k).Store(&k)
	return true
}

// Add notes what a manifest names. What has no blobs is only remembered to be that.
func (s *Images) Add(k Key, contents oci.Contents) {
	s.slot(k).Store(&k)
	if len(contents.Blobs) == 0 {
		return
	}
	named := contents.Blobs[:min(len(contents.Blobs), MaxBlobs)]
	blobs := make([]Blob, 0, len(named))
	for _, config := range []bool{false, true} { // clients ask for the config first anyway
		for _, b := range named {
			if config == (b.Digest == contents.Config) {
				blobs = append(blobs, Blob{b.Digest, SizeTold(b.Digest, b.Size), config})
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.at(k)
	s.blobs += len(blobs) - len(m.blobs)
	m.blobs = blobs
	s.shrink()
}

// at returns an image, as the newest if it is new; s.mu is held.
func (s *Images) at(k Key) *Image {
	if e := s.known[k]; e != nil {
		s.order.MoveToBack(e)
		return e.Value.(*Image)
	}
	if s.known == nil {
		s.known = map[Key]*list.Element{}
	}
	m := &Image{Key: k}
	s.known[k] = s.order.PushBack(m)
	return m
}

func (s *Images) shrink() {
	for s.order.Len() > maxImages || s.blobs > maxBlobs && s.order.Len() > 1 {
		m := s.order.Remove(s.order.Front()).(*Image)
		s.blobs -= len(m.blobs)
		delete(s.known, m.Key)
		slot := s.slot(m.Key)
		if at := slot.Load(); at != nil && *at == m.Key {
			slot.CompareAndSwap(at, nil)
		}
	}
}

// of returns the image of the scope that names a blob, the newest of them, and the
// blob's place in it; s.mu is held.
func (s *Images) of(scope oci.Scope, d digest.Digest) (*Image, int) {
	for e := s.order.Back(); e != nil; e = e.Prev() {
		m := e.Value.(*Image)
		if m.Scope != scope {
			continue
		}
		for i := range m.blobs {
			if m.blobs[i].Digest == d {
				return m, i
			}
		}
	}
	return nil, 0
}

// Names reports whether an image of the scope is known that names a blob.
func (s *Images) Names(scope oci.Scope, d digest.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _ := s.of(scope, d)
	return m != nil
}

// Mark returns the place in the order of things, for what an upstream is asked next.
func (s *Images) Mark() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq
}

// Fetched notes that the upstream has sent a manifest.
func (s *Images) Fetched(k Key, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.at(k)
	s.seq++
	m.fetched, m.fetchedSeq = now, s.seq
	s.shrink()
}

// Since reports whether the upstream has sent the manifest since the mark.
func (s *Images) Since(k Key, mark uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[k]
	return e != nil && e.Value.(*Image).fetchedSeq > mark
}

// Missed says what to do about a blob that the upstream has not, as it was asked at
// the mark: whether there is an image that the upstream is to be asked for, or was or
// is being since. The caller calls settled then.
func (s *Images) Missed(scope oci.Scope, d digest.Digest, mark uint64, now time.Time) (k Key, ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _ := s.of(scope, d)
	switch {
	case m == nil:
		return Key{}, false
	case m.fetchedSeq > mark, m.asking:
	case oci.Within(now.Sub(m.fetched), freshImage), oci.Within(now.Sub(m.asked), askAgain):
		return Key{}, false
	default:
		m.asked, m.asking = now, true
	}
	return m.Key, true
}

// Settled notes that an image is not being asked for any more.
func (s *Images) Settled(k Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.known[k]; e != nil {
		e.Value.(*Image).asking = false
	}
}

// Begin returns the blobs of the image that a layer belongs to, if they are to be
// pulled ahead now. The caller calls end then.
func (s *Images) Begin(scope oci.Scope, layer digest.Digest, now time.Time) (*Image, []Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, i := s.of(scope, layer)
	if m == nil || m.blobs[i].config || m.ahead || now.Before(m.rest) {
		return nil, nil
	}
	m.ahead = true
	return m, m.blobs
}

// End ends what begin has begun; until rest, it is not begun again.
func (s *Images) End(m *Image, rest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.ahead, m.rest = false, rest
}

// SizeTold returns what a size that was told is worth; -1 = nothing. Manifests that
// leave it out say 0, which is one digest's alone.
func SizeTold(d digest.Digest, size int64) int64 {
	if size == 0 && d != d.Algorithm().FromBytes(nil) {
		return -1
	}
	return size
}
