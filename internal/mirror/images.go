package mirror

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

const (
	// maxImages, maxImageBlobs and maxBlobs bound what is known: the images, the blobs
	// of one, and all of them.
	maxImages     = 256
	maxImageBlobs = 4096
	maxBlobs      = 32 << 10
	// freshImage is how long a manifest counts as asked for just now, and askAgain
	// how often one is asked for again for the sake of its blobs.
	freshImage = 10 * time.Second
	askAgain   = time.Minute
)

// images are the manifests that clients have got lately, with the digests of their
// blobs: each is read once, and a blob finds the image that it belongs to. The zero
// value knows none. Safe for concurrent use.
type images struct {
	// recent spares who serves one again the lock.
	recent [maxImages]atomic.Pointer[imageKey]

	mu    sync.Mutex
	known map[imageKey]*list.Element
	order list.List // of *image, the oldest first
	blobs int
	seq   uint64 // counts what the upstreams have sent
}

type imageKey struct {
	scope  oci.Scope
	digest digest.Digest
}

type image struct {
	imageKey
	blobs []imageBlob
	// fetched is when the upstream has sent the manifest last, and fetchedSeq its place
	// in the order of things; asked is when it was asked to for the sake of a blob.
	fetched, asked time.Time
	fetchedSeq     uint64
	asking         bool      // it is being asked to
	ahead          bool      // its blobs are being pulled ahead
	rest           time.Time // until then, they are not begun to be
}

type imageBlob struct {
	digest digest.Digest
	size   int64
	config bool
}

func (s *images) slot(k imageKey) *atomic.Pointer[imageKey] {
	d := k.digest
	if len(d) < 2 {
		return &s.recent[0]
	}
	return &s.recent[(int(d[len(d)-1])*31+int(d[len(d)-2]))%maxImages]
}

// served notes a manifest that a client has got.
func (s *images) served(scope oci.Scope, mf oci.Manifest) {
	k := imageKey{scope, mf.Digest}
	if at := s.slot(k).Load(); at != nil && *at == k || s.has(k) {
		return
	}
	if contents, err := oci.ParseManifest(mf.Bytes); err == nil {
		s.add(k, contents)
	}
}

// has reports whether it is known what a manifest names: another one may have its slot.
func (s *images) has(k imageKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[k]
	if e == nil || len(e.Value.(*image).blobs) == 0 {
		return false
	}
	s.order.MoveToBack(e)
	s.slot(k).Store(&k)
	return true
}

// add notes what a manifest names. What has no blobs is only remembered to be that.
func (s *images) add(k imageKey, contents oci.Contents) {
	s.slot(k).Store(&k)
	if len(contents.Blobs) == 0 {
		return
	}
	named := contents.Blobs[:min(len(contents.Blobs), maxImageBlobs)]
	blobs := make([]imageBlob, 0, len(named))
	for _, config := range []bool{false, true} { // clients ask for the config first anyway
		for _, b := range named {
			if config == (b.Digest == contents.Config) {
				blobs = append(blobs, imageBlob{b.Digest, toldSize(b.Digest, b.Size), config})
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
func (s *images) at(k imageKey) *image {
	if e := s.known[k]; e != nil {
		s.order.MoveToBack(e)
		return e.Value.(*image)
	}
	if s.known == nil {
		s.known = map[imageKey]*list.Element{}
	}
	m := &image{imageKey: k}
	s.known[k] = s.order.PushBack(m)
	return m
}

func (s *images) shrink() {
	for s.order.Len() > maxImages || s.blobs > maxBlobs && s.order.Len() > 1 {
		m := s.order.Remove(s.order.Front()).(*image)
		s.blobs -= len(m.blobs)
		delete(s.known, m.imageKey)
		slot := s.slot(m.imageKey)
		if at := slot.Load(); at != nil && *at == m.imageKey {
			slot.CompareAndSwap(at, nil)
		}
	}
}

// of returns the image of the scope that names a blob, the newest of them, and the
// blob's place in it; s.mu is held.
func (s *images) of(scope oci.Scope, d digest.Digest) (*image, int) {
	for e := s.order.Back(); e != nil; e = e.Prev() {
		m := e.Value.(*image)
		if m.scope != scope {
			continue
		}
		for i := range m.blobs {
			if m.blobs[i].digest == d {
				return m, i
			}
		}
	}
	return nil, 0
}

// mark returns the place in the order of things, for what an upstream is asked next.
func (s *images) mark() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq
}

// fetched notes that the upstream has sent a manifest.
func (s *images) fetched(k imageKey, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.at(k)
	s.seq++
	m.fetched, m.fetchedSeq = now, s.seq
	s.shrink()
}

// since reports whether the upstream has sent the manifest since the mark.
func (s *images) since(k imageKey, mark uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.known[k]
	return e != nil && e.Value.(*image).fetchedSeq > mark
}

// missed says what to do about a blob that the upstream has not, as it was asked at
// the mark: whether there is an image that the upstream is to be asked for, or was or
// is being since. The caller calls settled then.
func (s *images) missed(scope oci.Scope, d digest.Digest, mark uint64, now time.Time) (k imageKey, ask bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, _ := s.of(scope, d)
	switch {
	case m == nil:
		return imageKey{}, false
	case m.fetchedSeq > mark, m.asking:
	case within(now.Sub(m.fetched), freshImage), within(now.Sub(m.asked), askAgain):
		return imageKey{}, false
	default:
		m.asked, m.asking = now, true
	}
	return m.imageKey, true
}

// settled notes that an image is not being asked for any more.
func (s *images) settled(k imageKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.known[k]; e != nil {
		e.Value.(*image).asking = false
	}
}

// begin returns the blobs of the image that a layer belongs to, if they are to be
// pulled ahead now. The caller calls end then.
func (s *images) begin(scope oci.Scope, layer digest.Digest, now time.Time) (*image, []imageBlob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, i := s.of(scope, layer)
	if m == nil || m.blobs[i].config || m.ahead || now.Before(m.rest) {
		return nil, nil
	}
	m.ahead = true
	return m, m.blobs
}

// end ends what begin has begun; until rest, it is not begun again.
func (s *images) end(m *image, rest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m.ahead, m.rest = false, rest
}
