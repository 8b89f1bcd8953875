package mirror

import (
	"context"
	"fmt"

	"github.com/pullgate/pullgate/internal/oci"
)

// open makes or reopens the part, and gets the upstream's answer to the first
// GET, whichever can be done first: a part that was suspended says where the GET
// begins, an upstream says how large a part of unknown size will be.
func (f *fill) open() error {
	var cause error
	if f.expected >= 0 {
		cause = f.begin(f.expected)
	}
	first := &segment{ctx: f.pulling, pos: f.covered.end(0)}
	size := f.expected
	if f.part == nil || first.pos < size {
		if err := f.ask(first); err != nil {
			return err
		}
		if told := first.body.Size; told >= 0 {
			if size >= 0 && size != told {
				return f.wrongSize(first, size, told)
			}
			size = told
		}
	}
	if f.part == nil && cause == nil {
		cause = f.begin(size)
		if pos := f.covered.end(0); pos > first.pos {
			first.close()
			first.pos = pos
		}
	}
	switch {
	case cause == nil:
	case size < 0:
		first.close()
		return f.unstorable(cause)
	case size <= wholeSize:
		f.part = newMemory(size)
	}
	// The GET is the proof that the blob belongs to the scope.
	f.c.link(f.source.scope, oci.Descriptor{Digest: f.digest, Size: size})

	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened, f.size, f.cause = true, size, cause
	if f.part == nil {
		f.split = &split{state: f.digest.Algorithm().Hash(), body: first.take()}
	} else {
		f.launch(first)
	}
	f.changed()
	return nil
}

// begin gets the part. Nobody else looks at it before the fill is opened.
func (f *fill) begin(size int64) error {
	p, err := f.c.makePart(f.digest, size)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.part, f.covered = p, p.Covered()
	f.resumed = len(f.covered) > 0
	return nil
}

// ask sends the first GET, from the first gap on.
func (f *fill) ask(first *segment) error {
	length := int64(-1)
	if end := f.covered.next(first.pos); f.expected >= 0 && end < f.expected {
		length = end - first.pos
	}
	body, err := f.source.Remote.Blob(f.pulling, f.source.repository, f.digest, first.pos, length)
	if err != nil {
		return fmt.Errorf("get blob %s@%s: %w", f.source.scope, f.digest, f.c.asked(f.pulling, err))
	}
	first.body = &body
	return nil
}

func (f *fill) wrongSize(s *segment, want, told int64) error {
	s.close()
	return oci.UpstreamError(oci.ClassLength, "", "the upstream's blob has not the size that its manifest tells",
		fmt.Errorf("blob %s@%s: want %d bytes, announced %d", f.source.scope, f.digest, want, told))
}

// unstorable is the one case in which a failing store fails a request: nobody
// knows how long the answer is, and there is no place to find out.
func (f *fill) unstorable(cause error) error {
	return oci.UpstreamError(oci.ClassLength, "",
		"the upstream does not tell the blob's size, and there is no room to find out", cause)
}

// restart begins anew in another part. Nobody has got a byte of the old one.
func (f *fill) restart(p part) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.part
	f.part, f.covered, f.resumed, f.idle, f.failures = p, nil, false, false, 0
	f.pulling, f.stop = context.WithCancel(f.ctx)
	f.launch(&segment{ctx: f.pulling})
	if err := old.Close(); err != nil {
		f.c.log.Warn("part not closed", "digest", f.digest, "error", err)
	}
}

// broken returns why the blob cannot be stored, if so.
func (f *fill) broken() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inMemory() {
		return nil
	}
	return f.cause
}
