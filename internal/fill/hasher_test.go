package fill

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"sync"
	"testing"
)

// bench is a hasher at work on a part in memory.
type bench struct {
	t    *testing.T
	h    hasher
	part *memory
	want []byte
	sum  hash.Hash
	done chan error
}

func newBench(t *testing.T, size int) *bench {
	b := &bench{t: t, part: newMemory(int64(size)), want: randomBytes(size), sum: sha256.New(), done: make(chan error, 1)}
	b.h.restart(0, int64(size))
	return b
}

func (b *bench) run() {
	go func() { b.done <- b.h.run(b.t.Context(), b.sum, b.part) }()
}

// pull is what a segment does with the bytes [start, end), in pieces.
func (b *bench) pull(c *content, start, end int64, piece int, may bool) {
	var buffer *handoff
	defer func() { b.h.part(buffer) }()
	for pos := start; pos < end; {
		var space []byte
		buffer, space = b.h.space(buffer)
		n := copy(space[:min(len(space), piece)], b.want[pos:end])
		if _, err := b.part.WriteAt(space[:n], pos); err != nil {
			b.t.Error(err)
		}
		prefix, _ := c.add(pos, pos+int64(n), int64(len(b.want)))
		if own := b.h.add(buffer, pos, n, prefix, may); own != nil {
			b.h.hash(own, space[:n])
		}
		pos += int64(n)
	}
}

func (b *bench) wantSum() {
	b.t.Helper()
	if err := <-b.done; err != nil {
		b.t.Fatal(err)
	}
	if want := sha256.Sum256(b.want); !bytes.Equal(b.sum.Sum(nil), want[:]) || b.h.hashed != int64(len(b.want)) {
		b.t.Errorf("%d of %d bytes are hashed, or others", b.h.hashed, len(b.want))
	}
}

// However bytes come, handed on, hashed by whoever brings them, or ahead of others, and
// whenever the hasher begins, all of them are hashed in order.
func TestHasher(t *testing.T) {
	t.Parallel()
	const size = 3<<20 + 17
	for _, may := range []bool{false, true} {
		for _, late := range []bool{false, true} {
			b := newBench(t, size)
			var c content
			if !late {
				b.run()
			}
			b.pull(&c, size/2, size*3/4, 100_000, may)
			if late {
				b.run()
			}
			b.pull(&c, 0, size/4, 50_000, may)
			b.pull(&c, size/4, size/2, segmentBuffer, may)
			b.pull(&c, size*3/4, size, 10_000, may)
			b.wantSum()
		}
	}
}

// Segments beside each other hand on what is theirs.
func TestHasherOfManySegments(t *testing.T) {
	t.Parallel()
	const size, segments = 8 << 20, 8
	b := newBench(t, size)
	b.run()
	var mu sync.Mutex // as workers.mu
	var c content
	var all sync.WaitGroup
	for i := range int64(segments) {
		all.Go(func() {
			var buffer *handoff
			defer func() { b.h.part(buffer) }()
			for pos := i * size / segments; pos < (i+1)*size/segments; pos += 32 << 10 {
				var space []byte
				buffer, space = b.h.space(buffer)
				n := copy(space[:32<<10], b.want[pos:])
				if _, err := b.part.WriteAt(space[:n], pos); err != nil {
					t.Error(err)
				}
				mu.Lock()
				prefix, _ := c.add(pos, pos+int64(n), size)
				own := b.h.add(buffer, pos, n, prefix, i%2 == 0)
				mu.Unlock()
				if own != nil {
					b.h.hash(own, space[:n])
				}
			}
		})
	}
	all.Wait()
	b.wantSum()
}

// The end that is held back goes in last, so that readers can go on from before it.
func TestHasherKeepsOffTheEnd(t *testing.T) {
	t.Parallel()
	const size = 2 << 20
	b := newBench(t, size)
	var c content
	b.run()
	b.pull(&c, 0, size-1, segmentBuffer, false)
	b.h.rest()
	if err := <-b.done; err != nil || b.h.hashed != size-heldBack {
		t.Errorf("%d bytes are hashed, %v", b.h.hashed, err)
	}
	for _, test := range []struct {
		size, prefix int64
		ok           bool
	}{
		{size, size - heldBack, true}, {size, size - heldBack + 1, false}, {WholeSize, WholeSize, true},
	} {
		var h hasher
		h.restart(test.prefix, -1)
		if ok := h.bound(test.size); ok != test.ok || ok == (h.size < 0) {
			t.Errorf("%d of %d bytes are there: bound %t", test.prefix, test.size, ok)
		}
	}
}

type unreadable struct{ *memory }

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, io.ErrUnexpectedEOF }

// The hashing ends with the fill, and where the part cannot be read.
func TestHasherEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(b *bench, cancel func()){
		"failed": func(b *bench, _ func()) { b.h.fail() },
		"closed": func(b *bench, cancel func()) { cancel(); b.h.rest() },
	} {
		b := newBench(t, 100)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { b.done <- b.h.run(ctx, b.sum, b.part) }()
		end(b, cancel)
		if err := <-b.done; err != nil || b.h.hashed != 0 {
			t.Errorf("%s: %d bytes are hashed, %v", name, b.h.hashed, err)
		}
		cancel()
	}
	b := newBench(t, 100)
	b.h.restart(50, 100)
	if err := b.h.run(t.Context(), b.sum, unreadable{b.part}); !errors.Is(err, errUnread) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a part that cannot be read: %v", err)
	}
}
