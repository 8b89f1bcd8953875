package mirror_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/internal/oci"
)

// liar is an upstream of one blob at a time, which it may have never seen.
type liar struct {
	mu   sync.Mutex
	plan *lies
}

// follow has the upstream tell other lies from now on.
func (u *liar) follow(l *lies) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.plan = l
}

// lies are what it does to one blob.
type lies struct {
	*rand.Rand

	noise  []byte
	digest digest.Digest
	right  []byte
	sent   []byte // by a GET of the whole
	ranged []byte // by others
	told   int64
	headed int64 // by a HEAD
	// ignores says that every answer is the whole.
	ignores bool
	// cutAfter so many bytes each of the next answers ends.
	cutAfter, cuts int
	refusals       int // after the first answer
	// holdAt is from where on bytes wait for open.
	holdAt int
	open   chan struct{}
	honest bool
	gets   int
}

// newLies makes up a blob of noise and what becomes of it.
func newLies(random *rand.Rand, noise []byte) *lies {
	size := mib + 1 + random.IntN(mib/2)
	if random.IntN(12) == 0 {
		size = 1 + random.IntN(mib)
	}
	from := random.IntN(len(noise) - size)
	right := bytes.Clone(noise[from : from+size])
	for i := range min(8, size) {
		right[i] = byte(random.Uint32())
	}
	l := &lies{
		Rand: random, noise: noise, digest: digest.FromBytes(right), right: right, sent: right, ranged: right, told: int64(size), headed: int64(size),
		holdAt: random.IntN(size + 1), open: make(chan struct{}),
	}
	l.honest = random.IntN(4) == 0
	for again := !l.honest; again; again = random.IntN(3) == 0 {
		l.lie(size)
	}
	if random.IntN(6) == 0 { // which is no lie
		l.ignores = true
	}
	return l
}

func (l *lies) lie(size int) {
	near := int64(size + []int{-1, 1, -70_000, 70_000}[l.IntN(4)])
	switch l.IntN(9) {
	case 0:
		l.sent = l.flipped(l.sent)
		l.ranged = l.sent
	case 1:
		l.sent = l.flipped(l.sent)
	case 2:
		l.ranged = l.flipped(l.ranged)
	case 3:
		l.sent = make([]byte, size)
		l.ranged = l.sent
	case 4:
		l.cutAfter, l.cuts = 1+l.IntN(size), 1+l.IntN(100)
	case 5:
		l.told = max(near, 0)
	case 6:
		l.told = -1
	case 7:
		l.headed = []int64{max(near, 0), -1}[l.IntN(2)] // -1: nobody asks
	case 8:
		l.refusals = 1 + l.IntN(30)
	}
	if l.IntN(6) == 0 {
		l.sent = append(bytes.Clone(l.sent), l.noise[:1+l.IntN(70_000)]...)
	}
	if l.IntN(6) == 0 {
		l.sent = l.sent[:l.IntN(len(l.sent)+1)]
	}
}

// flipped flips bits, most of them where a rule begins or ends.
func (l *lies) flipped(b []byte) []byte {
	b = bytes.Clone(b)
	for range 1 + l.IntN(3) {
		if len(b) == 0 {
			break
		}
		at := l.IntN(len(b))
		switch l.IntN(4) {
		case 0:
			at = len(b) - 1
		case 1:
			at = max(0, len(b)-65_536-l.IntN(3)+1)
		case 2:
			at = 0
		}
		b[min(at, len(b)-1)] ^= 1 << l.IntN(8)
	}
	return b
}

func (u *liar) current(d digest.Digest) *lies {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.plan == nil || u.plan.digest != d {
		return nil
	}
	return u.plan
}

func (u *liar) Blob(ctx context.Context, _ string, d digest.Digest, offset, length int64) (oci.BlobBody, error) {
	l := u.current(d)
	if l == nil {
		return oci.BlobBody{}, missing(oci.CodeBlobUnknown)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.gets++; l.gets > 1 && l.refusals > 0 {
		l.refusals--
		return oci.BlobBody{}, oci.UpstreamError(oci.ClassStatus, "", "not now", nil)
	}
	content := l.sent
	if offset > 0 {
		content = l.ranged
	}
	if l.ignores {
		offset, length = 0, -1
	}
	b := &lie{ctx: ctx, lies: l, rest: content[min(int(offset), len(content)):], at: int(offset), left: -1, end: io.EOF}
	if length >= 0 {
		b.rest = b.rest[:min(int(length), len(b.rest))]
	}
	if l.told >= 0 && length < 0 && offset+int64(len(b.rest)) < l.told {
		b.end = io.ErrUnexpectedEOF
	}
	if l.cuts > 0 {
		l.cuts--
		b.left = l.cutAfter
	}
	return oci.BlobBody{ReadCloser: b, Offset: offset, Size: l.told}, nil
}

// lie is one body.
type lie struct {
	*lies

	ctx      context.Context
	rest     []byte
	at, left int
	end      error
}

func (b *lie) Read(p []byte) (int, error) {
	if b.at >= b.holdAt {
		select {
		case <-b.open:
		case <-b.ctx.Done():
		}
	}
	switch {
	case b.ctx.Err() != nil:
		return 0, oci.UpstreamError(oci.ClassCanceled, "", "canceled", b.ctx.Err())
	case b.left == 0:
		return 0, io.ErrUnexpectedEOF
	case len(b.rest) == 0:
		return 0, b.end
	}
	n := copy(p, b.rest)
	if b.at < b.holdAt {
		n = min(n, b.holdAt-b.at)
	}
	if b.left > 0 {
		n = min(n, b.left)
		b.left -= n
	}
	b.rest, b.at = b.rest[n:], b.at+n
	return n, nil
}

func (b *lie) Close() error { return nil }

func (u *liar) HeadBlob(_ context.Context, _ string, d digest.Digest) (int64, error) {
	if l := u.current(d); l != nil {
		return l.headed, nil
	}
	return -1, missing(oci.CodeBlobUnknown)
}

func (u *liar) Resolve(context.Context, string, oci.Reference, func(digest.Digest) bool) (oci.Descriptor, *oci.Manifest, error) {
	return oci.Descriptor{}, nil, missing(oci.CodeManifestUnknown)
}

func (u *liar) Manifest(context.Context, string, oci.Reference) (oci.Manifest, error) {
	return oci.Manifest{}, missing(oci.CodeManifestUnknown)
}

func (u *liar) Tags(context.Context, string, oci.TagsCursor) (oci.TagsPart, error) {
	return oci.TagsPart{}, missing(oci.CodeNameUnknown)
}

func (u *liar) Referrers(context.Context, string, digest.Digest) ([]oci.Descriptor, error) {
	return nil, missing(oci.CodeNameUnknown)
}
